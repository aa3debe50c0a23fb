"""Reconstruction losses of masked autoencoders."""

import torch

__all__ = ["masked_reconstruction_loss", "normalized_patches"]


def normalized_patches(patches: torch.Tensor) -> torch.Tensor:
    """Each patch minus its mean, divided by the root of its unbiased variance + 1e-6 (He et al. 2021, public code).

    Args:
        patches: `(batch, patches, width)`.

    Returns:
        Of the same shape.
    """
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def masked_reconstruction_loss(
    reconstruction: torch.Tensor,
    patches: torch.Tensor,
    patch_mask: torch.Tensor,
    patch_weight: torch.Tensor | None = None,
    normalize_patches: bool = False,
) -> torch.Tensor:
    r"""Mean squared error over the removed patches: `sum(mask * w * l) / sum(mask * w)`.

    One ratio over the whole batch, not a mean of per-record means; `l` is the mean over a patch.

    Args:
        reconstruction: `(batch, patches, patch_size * leads)`.
        patches: The original, same shape.
        patch_mask: `(batch, patches)`, 1 = removed (counts), 0 = visible. All ones give the loss over every patch.
        patch_weight: `(batch, patches)`, 0 for patches that hold no valid sample; all count if not given.
        normalize_patches: Compare with each patch standardized by its own mean and unbiased variance.

    Returns:
        A scalar in float32 (or the float64 of its input); 0 if nothing counts.
    """
    dtype = torch.promote_types(reconstruction.dtype, torch.float32)
    target = normalized_patches(patches.to(dtype)) if normalize_patches else patches.to(dtype)
    weight = patch_mask.to(dtype) if patch_weight is None else patch_mask.to(dtype) * patch_weight.to(dtype)
    per_patch = (reconstruction.to(dtype) - target).square().mean(dim=-1)
    # A batch of padding alone counts nothing: 0 / 0 without the floor.
    return (per_patch * weight).sum() / weight.sum().clamp_min(torch.finfo(dtype).tiny)
