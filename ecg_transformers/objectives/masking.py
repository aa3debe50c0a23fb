"""Random masks over the patches of a record, drawn as explicit noise."""

from dataclasses import dataclass

import torch

__all__ = ["PatchMask", "random_patch_mask", "restore_patches", "select_patches"]


@dataclass(frozen=True)
class PatchMask:
    """Visible and removed patches of a batch.

    Args:
        ids_keep: Visible patches `(batch, kept)`, in the order of their noise.
        ids_restore: Place of every patch in the shuffled order `(batch, patches)`.
        patch_mask: `(batch, patches)` in record order, 1 = removed, 0 = visible.
    """

    ids_keep: torch.Tensor
    ids_restore: torch.Tensor
    patch_mask: torch.Tensor


def random_patch_mask(patch_noise: torch.Tensor, mask_ratio: float) -> PatchMask:
    """Keep the `int(patches * (1 - mask_ratio))` patches with the smallest noise.

    Args:
        patch_noise: Uniform noise `(batch, patches)`, one draw per record and patch, common to all leads.
        mask_ratio: Share of patches to remove. Rounded in floating point as in the published code: 10 patches at 0.9
            keep none.

    Source: masked autoencoders (He et al. 2021), public code.
    """
    patches = patch_noise.shape[1]
    kept = int(patches * (1 - mask_ratio))
    ids_shuffle = patch_noise.argsort(dim=1)
    ids_restore = ids_shuffle.argsort(dim=1)
    return PatchMask(
        ids_keep=ids_shuffle[:, :kept],
        ids_restore=ids_restore,
        patch_mask=(ids_restore >= kept).to(patch_noise.dtype),
    )


def select_patches(sequence: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Select patches of each record.

    Args:
        sequence: `(batch, patches, width)`.
        ids: int64 `(batch, kept)`.

    Returns:
        `(batch, kept, width)`.
    """
    return sequence.gather(1, ids[:, :, None].expand(-1, -1, sequence.shape[-1]))


def restore_patches(visible: torch.Tensor, mask_token: torch.Tensor, ids_restore: torch.Tensor) -> torch.Tensor:
    """Put the visible tokens back in record order and the mask token in every other place.

    Args:
        visible: `(batch, kept, width)` in shuffled order.
        mask_token: `(1, 1, width)`.
        ids_restore: int64 `(batch, patches)`, from `PatchMask`.

    Returns:
        `(batch, patches, width)`.
    """
    batch, kept, width = visible.shape
    removed = mask_token.to(visible.dtype).expand(batch, ids_restore.shape[1] - kept, width)
    return select_patches(torch.cat([visible, removed], dim=1), ids_restore)
