"""Windows of a prepared corpus as batches: one tensor in memory or on the device, a whole batch at a time."""

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from transformers.utils import logging

from ..corpora.layout import NO_PARENT
from ..corpora.patients import UNKNOWN_PATIENT, patient_groups
from ..corpora.prepared import Corpus
from ..corpora.protocol import usable_records
from ..errors import CorpusError
from ..features.steps import cut_stored_windows, scale_to_millivolts
from ..hashing import integer_hash
from ..signals.record import EcgRecord
from .draws import window_starts
from .stored import StoredSignals, store_signals

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["EpochSampler", "WindowDataset", "check_dataset", "identity_collator", "patient_ids_or_none"]

logger = logging.get_logger(__name__)

# Samples that are scaled and normalized together on the CPU: 0.8 MB as float32.
_CACHE_SAMPLES = 200_000


def identity_collator(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Collator for a dataset whose `__getitems__` already returns the batch."""
    return batch


def check_dataset(dataset: Any, name: str) -> None:
    """Refuse recordings where windows are expected.

    Args:
        dataset: What the Trainer is given.
        name: The argument, for the message.

    Raises:
        CorpusError: It is a prepared corpus, the dataset of one, or a list of records.
    """
    kind = type(dataset).__name__
    rows = {"signal", "gain", "baseline"} <= set(getattr(dataset, "column_names", None) or ())
    records = isinstance(dataset, list | tuple) and any(isinstance(item, EcgRecord) for item in dataset)
    if not (rows or records or isinstance(dataset, Corpus)):
        return
    corpus = "corpus" if isinstance(dataset, Corpus) else "load_corpus(dataset)" if rows else "load_corpus(folder)"
    raise CorpusError(
        f"{name} is a {kind} of recordings; expected windows as the model takes them. Make them with the checkpoint's "
        f"feature extractor: from ecg_transformers.trainer import WindowDataset; {name}=WindowDataset({corpus}, "
        "extractor). With labels: training/finetune.py, or a dataset of dictionaries with input_values and labels."
    )


class EpochSampler(Sampler):
    """Order of the records, a new permutation each epoch that depends on (seed, epoch) alone.

    Args:
        num_records: Records of the dataset.
        seed: Seed of the order.
        carry_epoch: Yield `epoch * num_records + index`, from which `WindowDataset` takes the epoch: the epoch then
            reaches the dataset in every process and every worker.
    """

    def __init__(self, num_records: int, *, seed: int = 0, carry_epoch: bool = True):
        self.num_records = num_records
        self.seed = seed
        self.carry_epoch = carry_epoch
        self.epoch = 0

    def __len__(self) -> int:
        return self.num_records

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(int(integer_hash(self.seed, self.epoch)))
        order = torch.randperm(self.num_records, generator=generator)
        return iter((order + self.epoch * self.num_records if self.carry_epoch else order).tolist())


class WindowDataset(Dataset):
    """Normalized windows of a prepared corpus, cut and scaled for a whole batch at once.

    The signals stay as they are stored (int16 or float32), in memory or on the device. Nothing is drawn: the window
    of a record longer than `window_size` starts at a hash of (seed, epoch, record id); a shorter one is padded at the
    right and gets an `attention_mask`. Index `epoch * len(dataset) + i` is record i in that epoch.

    Args:
        corpus: The prepared corpus, or a selection of it, of any rate and leads that the extractor accepts. Records
            with missing samples are left out and counted, unless the extractor repairs or masks them.
        extractor: The checkpoint's feature extractor: leads, rate, window, normalization.
        seed: Seed of the window starts.
        segments: Adjacent windows of a record that form one row, each normalized by itself; with more than one the
            batch has a segment axis after the rows, and shorter records are left out and counted.
        source_window_size: Length of the window that is cut (samples) where the model cuts its own views out of it.
            Default: the extractor's window.
        partners: Whether a row also holds a window of another record of the same patient, chosen by a hash of (seed,
            epoch, record id), or of the record itself if there is none: the batch has an axis of 2 after the rows.
        places: Whether a row also holds the id of its recording and its place in it.
        device: Where the signals are kept and the batches made. Default: the CPU.

    Attributes:
        corpus: The records that are used, in the order of the indices.
        window_size: Samples that are cut from a record, all segments together.

    Raises:
        CorpusError: If no record is left, or records are shorter than that and the extractor forbids it (for
            `source_window_size` and `partners` they always are an error, and listed); the extractor normalizes by the
            window, which `source_window_size` would change.
        LeadError: If leads are absent and the extractor forbids it.
    """

    def __init__(
        self,
        corpus: Corpus,
        extractor: "EcgFeatureExtractor",
        *,
        seed: int = 0,
        segments: int = 1,
        source_window_size: int | None = None,
        partners: bool = False,
        places: bool = False,
        device: torch.device | str | None = None,
    ):
        self.corpus = usable_records(corpus, extractor)
        self.extractor = extractor
        self.seed = seed
        self.device = torch.device("cpu" if device is None else device)
        self.segments = segments
        self.window_size = segments * int(extractor.window_size) if source_window_size is None else source_window_size
        self.num_leads = len(extractor.lead_names)
        signals = store_signals(self.corpus, extractor)
        if segments > 1 and source_window_size is None:
            signals = self._leave_out_short(signals)
        self.lengths = signals.lengths
        self.normalized = signals.normalized
        if source_window_size is not None or partners:
            self._check_source()
        self.has_short_records = self._check_lengths()
        self._partners = _Partners(self.corpus, seed) if partners else None
        self._stored_leads = signals.num_leads
        self._values = _as_tensor(signals.values).to(self.device)
        self._offsets = _as_tensor(signals.offsets).to(self.device)
        self._device_lengths = _as_tensor(signals.lengths).to(self.device)
        self._order = None if signals.order is None else torch.tensor(signals.order).to(self.device)
        self._present = None if signals.present is None else _as_tensor(signals.present).to(self.device)
        self._units = None
        if signals.gain is not None and signals.baseline is not None:
            self._units = tuple(_as_tensor(table).to(self.device) for table in (signals.gain, signals.baseline))
        # Where every record is exactly one window, a batch is a plain selection of rows.
        self._rows = None
        row_size = self._stored_leads * self.window_size
        if bool((self.lengths == self.window_size).all()) and len(self._values) == len(self) * row_size:
            self._rows = self._values.view(len(self), row_size)
        self.record_ids = torch.as_tensor(self.corpus.record_ids)
        self.patient_ids = patient_ids_or_none(self.corpus)
        self._places = {}
        if places and (self.corpus.parent_ids != NO_PARENT).any():
            self._places = {"parent_ids": self.corpus.parent_ids, "starts": self.corpus.starts}

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one record, without the batch axis."""
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Make the batch of these records.

        Args:
            indices: Record numbers, each plus a multiple of `len(self)` that names the epoch.

        Returns:
            `input_values (batch, leads, samples)` float32; `attention_mask (batch, samples)` if the corpus has records
            shorter than the window; `lead_mask (batch, leads)` if it has records without a lead; `record_ids (batch,)`;
            `patient_ids (batch,)` if it knows any patient; with `places` `parent_ids (batch,)` and `starts (batch,)` of
            a corpus of parts of recordings; all int64. With several segments `input_values (batch,
            segments, leads, samples)` and `attention_mask (batch, segments, samples)`; with partners `input_values
            (batch, 2, leads, samples)`, and `lead_mask` 1 = present in both.
        """
        epochs, records = np.divmod(np.asarray(indices, dtype=np.int64), len(self))
        batch = self._windows(epochs, records)
        if self._partners is not None:
            other = self._windows(epochs, self._partners.of(epochs, records))
            batch["input_values"] = torch.stack([batch["input_values"], other["input_values"]], dim=1)
            if "lead_mask" in batch:
                batch["lead_mask"] = batch["lead_mask"] * other["lead_mask"]
        rows = torch.as_tensor(records)
        batch["record_ids"] = self.record_ids[rows]
        if self.patient_ids is not None:
            batch["patient_ids"] = self.patient_ids[rows]
        return batch | {name: torch.as_tensor(values[records]) for name, values in self._places.items()}

    def millivolts(self, records: Sequence[int] | np.ndarray) -> torch.Tensor:
        """Return the windows of these records in mV, before normalization: `(batch, leads, window_size)`."""
        numbers = np.asarray(records, dtype=np.int64)
        return self._millivolts(np.zeros_like(numbers), numbers)[0]

    def _leave_out_short(self, signals: StoredSignals) -> StoredSignals:
        """Leave out, and count, records without so many adjacent windows: a segment of padding has no partner."""
        short = signals.lengths < self.window_size
        if short.all():
            raise CorpusError(
                f"No record of {self.corpus.name} has {self.segments} adjacent windows of {self.extractor.window_size} "
                f"samples (longest: {int(signals.lengths.max())}). Set a smaller window_size."
            )
        if not short.any():
            return signals
        logger.warning(
            f"{int(short.sum())} of {len(short)} records of {self.corpus.name} are left out: they are shorter than "
            f"{self.segments} adjacent windows of {self.extractor.window_size} samples."
        )
        self.corpus = self.corpus.select(~short)
        return signals.select(~short)

    def _check_source(self) -> None:
        """Refuse records that are shorter than what views are cut from, and normalization by the window."""
        contract, size = self.extractor.contract, self.window_size
        short = np.flatnonzero(self.lengths < size)
        if len(short):
            listed = ", ".join(str(self.corpus.record_ids[record]) for record in short[:20])
            raise CorpusError(
                f"{len(short)} of {len(self)} records are shorter than the {size} samples that views are cut from "
                f"(shortest: {int(self.lengths.min())}); their ids: {listed}{', ...' if len(short) > 20 else ''}. Set "
                "a smaller source_window_size (or window_size), or leave these records out."
            )
        fixed = contract.normalization == "none" or contract.normalization_mean is not None
        if size != self.segments * contract.window_size and not (fixed or self.normalized):
            raise CorpusError(
                f"normalization is {contract.normalization!r} by the window of {contract.window_size} samples, but "
                f"source_window_size is {size}: views would be normalized otherwise than windows are later. Set "
                "normalization to 'none', or to 'constants' with normalization_mean and normalization_std."
            )

    def _check_lengths(self) -> bool:
        """Whether any record is shorter than the window; refused where the contract does not allow it."""
        short = self.lengths < self.window_size
        if short.any() and not self.extractor.contract.allow_short:
            raise CorpusError(
                f"{int(short.sum())} of {len(short)} records are shorter than the window of {self.window_size} samples "
                f"(shortest: {int(self.lengths.min())} samples at {self.extractor.contract.sampling_rate:g} Hz). Set a "
                "smaller window_size, allow_short if the model takes an attention mask, or leave these records out."
            )
        return bool(short.any())

    def _windows(self, epochs: np.ndarray, records: np.ndarray) -> dict[str, torch.Tensor]:
        """Windows of these records, normalized, and their masks."""
        # On the CPU a few records at a time: what is scaled and normalized then stays in the processor's cache, which
        # is up to twice as fast. An accelerator takes the batch at once.
        step = len(records)
        if self.device.type == "cpu":
            step = max(1, _CACHE_SAMPLES // (self.num_leads * self.window_size))
        size = self.window_size // self.segments
        normalized = torch.empty(len(records), self.segments, self.num_leads, size, device=self.device)
        batch = {"input_values": normalized}
        if self._present is not None:
            batch["lead_mask"] = self._present[torch.as_tensor(records).to(self.device)].long()
        masks = []
        for first in range(0, len(records), step):
            part = slice(first, first + step)
            windows, mask = self._millivolts(epochs[part], records[part])
            # (batch, leads, segments * size) -> (batch, segments, leads, size)
            windows = windows.unflatten(2, (self.segments, size)).transpose(1, 2)
            mask = None if mask is None else mask.unflatten(1, (self.segments, size))
            if not self.normalized:
                lead_mask = (
                    batch["lead_mask"][part].repeat_interleave(self.segments, 0) if "lead_mask" in batch else None
                )
                rows = self.extractor.normalize_batch(
                    windows.flatten(0, 1), None if mask is None else mask.flatten(0, 1), lead_mask
                )
                windows = rows.view(windows.shape)
            normalized[part] = windows
            masks += [] if mask is None else [mask]
        if masks:
            batch["attention_mask"] = torch.cat(masks).long()
        if self.segments == 1:
            batch |= {name: batch[name].squeeze(1) for name in ("input_values", "attention_mask") if name in batch}
        return batch

    def _millivolts(self, epochs: np.ndarray, records: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Windows in mV `(batch, leads, window_size)`, and their mask if any record of the corpus is short."""
        rows = torch.as_tensor(records).to(self.device)
        windows, mask = self._stored_windows(epochs, records, rows)
        if self._units is not None:
            gain, baseline = (table if len(table) == 1 else table[rows] for table in self._units)
            windows = scale_to_millivolts(windows, gain, baseline)
        return windows if self._order is None else windows[:, self._order], mask

    def _stored_windows(
        self, epochs: np.ndarray, records: np.ndarray, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Windows as stored `(batch, leads, window_size)`, and their mask if any record of the corpus is short."""
        if self._rows is not None:
            return self._rows.index_select(0, rows).view(-1, self._stored_leads, self.window_size), None
        starts = window_starts(
            self.seed, epochs, self.corpus.record_ids[records], self.lengths[records], self.window_size
        )
        windows, mask = cut_stored_windows(
            self._values,
            self._offsets[rows],
            self._device_lengths[rows],
            torch.as_tensor(starts).to(self.device),
            num_leads=self._stored_leads,
            window_size=self.window_size,
        )
        return windows, mask if self.has_short_records else None


class _Partners:
    """Another record of the same patient for each record.

    Args:
        corpus: The records.
        seed: Seed of the choice.
    """

    def __init__(self, corpus: Corpus, seed: int):
        self.seed, self.record_ids = seed, np.asarray(corpus.record_ids)
        groups = patient_groups(corpus.patient_ids)
        self._order = np.argsort(groups, kind="stable")  # records of a patient side by side
        counts = np.bincount(groups)
        firsts = np.cumsum(counts) - counts
        self._first, self._count = firsts[groups], counts[groups]
        self._place = np.empty_like(groups)
        self._place[self._order] = np.arange(len(groups)) - firsts[groups[self._order]]

    def of(self, epochs: np.ndarray, records: np.ndarray) -> np.ndarray:
        """Partner of each record in its epoch; the record itself where its patient has no other."""
        count = self._count[records]
        # Not the hash that the start of the window follows from.
        drawn = integer_hash(self.seed, epochs, self.record_ids[records], 1)
        shift = (drawn % np.maximum(count - 1, 1).astype(np.uint64)).astype(np.int64) + 1
        return self._order[self._first[records] + (self._place[records] + shift) % count]


def _as_tensor(values: np.ndarray) -> torch.Tensor:
    """Share the memory of an array, also of one that is mapped read-only (nothing here writes into it)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


def patient_ids_or_none(corpus: Corpus) -> torch.Tensor | None:
    """Patient of each record, int64 `(records,)`, -1 = unknown; None if all are -1."""
    patients = np.asarray(corpus.patient_ids, dtype=np.int64)
    return torch.as_tensor(patients) if (patients != UNKNOWN_PATIENT).any() else None
