"""The windows of all records of a call as one batch: normalization, flat and missing leads, padding, patches."""

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import SignalError
from .contract import SignalContract
from .preparation import PreparedRecord, normalize
from .steps import (
    LeadStatistics,
    apply_lead_mask,
    draw_lead_mask,
    is_flat,
    lead_statistics,
    patch_attention_mask,
    patchify,
)

__all__ = ["flat_places", "make_batch"]

# mV; far above any deviation of a flat lead, so that a single comparison rules out flat leads.
SURELY_NOT_FLAT = 1e-3


def make_batch(
    prepared: list[PreparedRecord],
    contract: SignalContract,
    *,
    record_index: np.ndarray,
    kept: torch.Tensor | None,
    random_lead_mask: float | None,
    generator: torch.Generator | None,
    steps: Sequence[str],
    patches: bool,
) -> dict[str, torch.Tensor]:
    """Apply the batched steps to the windows of all records.

    Args:
        prepared: Windows of each record.
        contract: The preprocessing.
        record_index: Record of each window, int64 `(windows,)`.
        kept: Leads to keep, bool `(records, leads)`; None: all.
        random_lead_mask: Probability of masking a lead; None: no random masking.
        generator: Random generator; None: the global one.
        steps: Remaining steps of the contract.
        patches: Whether to return patches.

    Returns:
        Tensors by the names of the model's arguments.

    Raises:
        SignalError: If a lead is flat and the contract does not allow it, or an argument is out of range.
    """
    cut = _joined([one.windows for one in prepared])
    if cut.base is not None and (contract.normalization == "none" or not cut.flags.writeable):
        cut = cut.copy()  # otherwise the result would be the array of the caller
    windows = torch.from_numpy(cut)
    lengths = _joined([one.lengths for one in prepared])
    present = np.array([one.present for one in prepared])
    if len(record_index) > len(prepared):
        present = present[record_index]
    lead_mask = torch.from_numpy(present)
    mask = None
    if lengths.min() < contract.window_size:
        mask = torch.from_numpy(np.arange(contract.window_size) < lengths[:, np.newaxis])
    statistics = lead_statistics(windows, mask)
    flat = _flat_windows(prepared, statistics, epsilon=contract.normalization_epsilon)
    if "normalize" in steps and contract.order_of("window") < contract.order_of("normalize"):
        windows = normalize(
            windows,
            contract,
            attention_mask=mask,
            lead_mask=None if present.all() else lead_mask,
            statistics=statistics,
            any_flat=flat is not None,
        )
    if flat is not None:
        windows, lead_mask = _treat_flat(windows, lead_mask, flat, contract)
    if contract.reference != "none":
        windows = apply_lead_mask(_minus_reference(windows, prepared), lead_mask)
    if kept is not None:
        lead_mask = lead_mask & kept[record_index]
    if random_lead_mask is not None:
        if not 0 <= random_lead_mask <= 1:
            raise SignalError(f"random_lead_mask is {random_lead_mask!r}; expected a probability from 0 to 1.")
        lead_mask = draw_lead_mask(lead_mask, random_lead_mask, generator)
    if kept is not None or random_lead_mask is not None:
        windows = apply_lead_mask(windows, lead_mask)
    return _outputs(windows, mask, lead_mask, contract, patches=patches)


def _flat_windows(prepared: list[PreparedRecord], statistics: LeadStatistics, *, epsilon: float) -> torch.Tensor | None:
    """Constant leads, in the recording or after processing, bool `(windows, leads)`; None if there are none."""
    in_source = _joined([one.flat for one in prepared])
    if not in_source.any() and float(statistics.deviation.min()) >= max(SURELY_NOT_FLAT, 2 * epsilon):
        return None
    flat = torch.from_numpy(in_source) | is_flat(statistics.mean, statistics.deviation, epsilon)[..., 0]
    return flat if bool(flat.any()) else None


def _treat_flat(
    windows: torch.Tensor, lead_mask: torch.Tensor, flat: torch.Tensor, contract: SignalContract
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows and lead mask after the rule of the contract for flat leads."""
    flat = flat & lead_mask
    if contract.flat_lead == "error" and bool(flat.any()):
        names = [contract.lead_names[lead] for lead in flat.any(dim=0).nonzero()[:, 0].tolist()]
        raise SignalError(
            f"{int(flat.any(dim=1).sum())} of {flat.shape[0]} windows have flat leads ({', '.join(names)}); expected "
            "signal in every lead. Set flat_lead='mask' or flat_lead='keep'."
        )
    if contract.flat_lead == "mask" or contract.normalization != "none":
        windows = windows.masked_fill(flat.unsqueeze(-1), 0.0)
    return windows, lead_mask & ~flat if contract.flat_lead == "mask" else lead_mask


def _minus_reference(windows: torch.Tensor, prepared: list[PreparedRecord]) -> torch.Tensor:
    """Normalized beats minus the reference beat of their recording."""
    # A loop over recordings, whose numbers of beats differ.
    parts = windows.numpy()
    ends = np.cumsum([len(one.starts) for one in prepared])
    beats = [
        np.median(parts[end - len(one.starts) : end], axis=0) if one.reference_beat is None else one.reference_beat
        for one, end in zip(prepared, ends.tolist(), strict=True)
    ]
    counts = [len(one.starts) for one in prepared]
    return torch.from_numpy(parts - np.repeat(np.asarray(beats, dtype=np.float32), counts, axis=0))


def flat_places(prepared: PreparedRecord, contract: SignalContract) -> list[tuple[int, int]]:
    """Window and lead of each flat lead of a record, for explanations."""
    mask = torch.from_numpy(np.arange(contract.window_size) < prepared.lengths[:, np.newaxis])
    statistics = lead_statistics(torch.from_numpy(prepared.windows), mask)
    flat = _flat_windows([prepared], statistics, epsilon=contract.normalization_epsilon)
    if flat is None:
        return []
    places = (flat & torch.from_numpy(prepared.present)).nonzero().tolist()
    return [(window, lead) for window, lead in places]


def _outputs(
    windows: torch.Tensor,
    mask: torch.Tensor | None,
    lead_mask: torch.Tensor,
    contract: SignalContract,
    *,
    patches: bool,
) -> dict[str, torch.Tensor]:
    """Tensors by the names of the model's arguments; without a mask all samples are signal."""
    batch = {"input_values": windows}
    patch_size = contract.patch_size if patches else None
    if patches and patch_size is None:
        raise SignalError("return_patches is set without a patch_size; expected a number of samples. Set patch_size=.")
    if patch_size is not None:
        batch = {"patches": patchify(windows, patch_size)}
    if contract.return_attention_mask:
        shape = (windows.shape[0], contract.window_size)
        attention_mask = torch.ones(shape, dtype=torch.int64) if mask is None else mask.to(torch.int64)
        if patch_size is not None:
            batch["patch_attention_mask"] = patch_attention_mask(attention_mask, patch_size)
        else:
            batch["attention_mask"] = attention_mask
    batch["lead_mask"] = lead_mask.to(torch.int64)
    return batch


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The parts concatenated along the first axis; a single part is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
