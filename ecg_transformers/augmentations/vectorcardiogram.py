"""The twelve leads as seen from another side: rotation and scaling of the vectorcardiogram (3KG).

Source: Gopal, Han, Raghupathi, Ng, Tison, Rajpurkar: 3KG. Contrastive learning of 12-lead electrocardiograms using
physiologically-inspired augmentations. ML4H 2021, section 3; matrix of Edenbrandt and Pahlm 1988.
"""

import torch

from ..errors import SignalError

__all__ = ["DOWER_INVERSE", "turn_vectorcardiogram"]

# Rows X, Y, Z of the vectorcardiogram from I, II, V1 ... V6.
DOWER_INVERSE = (
    (0.156, -0.009, -0.172, -0.073, 0.122, 0.231, 0.239, 0.193),
    (-0.227, 0.886, 0.057, -0.019, -0.106, -0.022, 0.040, 0.048),
    (0.021, 0.102, -0.228, -0.310, -0.245, -0.063, 0.054, 0.108),
)
# Among the leads I, II, III, aVR, aVL, aVF, V1 ... V6.
_INDEPENDENT = [0, 1, *range(6, 12)]
# III, aVR, aVL, aVF from I and II.
_DERIVED = ((-1.0, 1.0), (-0.5, -0.5), (1.0, -0.5), (-0.5, 1.0))


def turn_vectorcardiogram(signal: torch.Tensor, angles: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Rotate and scale the vectorcardiogram of each record, and return to its twelve leads.

    `X' = pinv(D) diag(scales) Rx Ry Rz D X` of the eight independent leads X, from which the other four follow. Without
    rotation and scaling it is the projection on what three dimensions explain, not the signal.

    Args:
        signal: `(batch, 12, samples)`, leads I, II, III, aVR, aVL, aVF, V1 ... V6, all in one unit: normalization by
            lead would destroy the geometry.
        angles: Rotations about z, then y, then x `(batch, 3)`, in radians.
        scales: Factors of x, y, z `(batch, 3)`.

    Raises:
        SignalError: The signal has another number of leads.
    """
    if signal.shape[1] != 12:
        raise SignalError(
            f"the vectorcardiogram was asked of {signal.shape[1]} leads; expected the 12 standard ones. Choose other "
            "views."
        )
    matrix = torch.tensor(DOWER_INVERSE, dtype=torch.float64, device=signal.device)
    turned = scales.double()[:, :, None] * (_rotation(angles.double()) @ matrix)
    eight = torch.linalg.pinv(matrix) @ turned
    limb = torch.tensor(_DERIVED, dtype=torch.float64, device=signal.device) @ eight[:, :2]
    mixing = torch.cat([eight[:, :2], limb, eight[:, 2:]], dim=1)
    return mixing.to(signal.dtype) @ signal[:, _INDEPENDENT]


def _rotation(angles: torch.Tensor) -> torch.Tensor:
    """Rotations `(batch, 3, 3)` about the fixed axes z, then y, then x, by `angles (batch, 3)` in this order."""
    found = torch.eye(3, dtype=angles.dtype, device=angles.device)
    for number, (one, other) in enumerate(((0, 1), (2, 0), (1, 2))):
        sine, cosine = angles[:, number].sin(), angles[:, number].cos()
        turn = torch.eye(3, dtype=angles.dtype, device=angles.device).repeat(len(angles), 1, 1)
        turn[:, one, one], turn[:, other, other] = cosine, cosine
        turn[:, one, other], turn[:, other, one] = -sine, sine
        found = turn @ found
    return found
