"""Changes of amplitude as functions of a batch and explicit parameters; nothing here draws a random number.

Every function takes `(batch, leads, samples)` and returns a new tensor of the same shape and type. Source: the
augmentations of Mehari & Strodthoff 2022 and their public code ecg-selfsupervised. Its Gaussian noise is
`electromyographic_noise` with the same strength for every record, its negation the minus sign.
"""

import torch
from torch.nn import functional

__all__ = ["scale_leads", "smooth"]

# Published code: Gaussian blur.
BLUR = (0.1, 0.2, 0.4, 0.2, 0.1)


def scale_leads(signal: torch.Tensor, log_factor: torch.Tensor) -> torch.Tensor:
    """Multiply each lead by its own factor (published code: channel resize).

    Args:
        signal: `(batch, leads, samples)`.
        log_factor: Natural logarithm of the factor `(batch, leads)`.
    """
    return signal * log_factor.exp()[:, :, None].to(signal.dtype)


def smooth(signal: torch.Tensor, kernel: tuple[float, ...] = BLUR) -> torch.Tensor:
    """Weighted moving sum over time, with zeros beyond both ends (published code: Gaussian blur).

    Args:
        signal: `(batch, leads, samples)`.
        kernel: Symmetric weights, an odd number of them.
    """
    samples, reach = signal.shape[-1], len(kernel) // 2
    padded = functional.pad(signal, (reach, reach))
    result = kernel[0] * padded[..., :samples]
    for number, weight in enumerate(kernel[1:], start=1):
        result = result.add(padded[..., number : number + samples], alpha=weight)
    return result
