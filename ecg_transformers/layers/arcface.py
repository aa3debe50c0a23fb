"""ArcFace: classes as directions, and an angular margin between them.

Deng J, Guo J, Xue N, Zafeiriou S. ArcFace: Additive Angular Margin Loss for Deep Face Recognition. CVPR 2019
(arXiv:1801.07698), equation 3. For identification of patients by electrocardiogram: Oh et al., CHIL 2022
(arXiv:2203.06889), fairseq-signals.
"""

import math

import torch
from torch import nn
from torch.nn import functional

__all__ = ["ArcFaceHead"]

# The slope of the sine of an angle is infinite where its cosine is 1.
_LARGEST_COSINE = 1.0 - 1e-7


class ArcFaceHead(nn.Module):
    """Scaled cosines between embeddings and one direction per class, with a margin on the own class in training.

    With theta the angle to the direction of the own class, scale s and margin m, its logit is s cos(theta + m), and
    s (cos(theta) - m sin(m)) where theta + m would exceed pi. All other logits are s cos(theta).

    Args:
        size: Size of the embeddings.
        num_classes: Number of classes.
        scale: s. Published for patients: 192.
        margin: m in rad. Published for patients: 1.
    """

    def __init__(self, size: int, num_classes: int, *, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.kernel = nn.Parameter(torch.empty(num_classes, size))

    def extra_repr(self) -> str:
        """Sizes and constants, for printing."""
        classes, size = self.kernel.shape
        return f"size={size}, num_classes={classes}, scale={self.scale:g}, margin={self.margin:g}"

    def cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Cosines to the directions of the classes `(batch, classes)`, in float32 at least, also under autocast.

        Args:
            embeddings: `(batch, size)`, of any length.
        """
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        with torch.autocast(embeddings.device.type, enabled=False):
            units = (functional.normalize(one.to(wide), dim=1) for one in (embeddings, self.kernel))
            return functional.linear(*units).clamp(-1.0, 1.0)

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the logits `(batch, classes)`.

        Args:
            embeddings: `(batch, size)`.
            labels: Own class of each row, int64 `(batch,)`, which gets the margin. Default: no margin.
        """
        cosines = self.cosines(embeddings)
        if labels is None:
            return self.scale * cosines
        own = cosines.gather(1, labels[:, None])
        bounded = own.clamp(-_LARGEST_COSINE, _LARGEST_COSINE)
        moved = own * math.cos(self.margin) - (1.0 - bounded.square()).sqrt() * math.sin(self.margin)
        beyond = own - self.margin * math.sin(self.margin)
        # Beyond pi - m the cosine of theta + m would rise again.
        own = torch.where(own > math.cos(math.pi - self.margin), moved, beyond)
        return self.scale * cosines.scatter(1, labels[:, None], own)
