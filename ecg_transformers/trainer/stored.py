"""The signals of a corpus as one flat array, after the steps of the contract that precede the window."""

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers.utils import logging

from ..corpora.layout import NO_PARENT
from ..errors import CorpusError
from ..features.preparation import prepare_record
from ..signals.leads import lead_indices
from ..signals.resample import resampled_length

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus
    from ..features.contract import SignalContract
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["StoredSignals", "store_signals"]

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class StoredSignals:
    """All records concatenated, each lead after lead, at the rate of the contract.

    Args:
        values: Samples, int16 or float32, one-dimensional.
        offsets: Index of the first value of each record, int64, with or without that of the end.
        lengths: Samples per lead, int64 `(records,)`.
        num_leads: Number of stored leads per record.
        order: Positions of the contract's leads among the stored ones; None if both are the same.
        gain: Units per mV, float32 `(records, leads)`; None if the values are final.
        baseline: Value that means 0 mV, float32 `(records, leads)`; None if the values are final.
        present: Which of the contract's leads each record has and the contract uses, bool `(records, leads)`; None if
            all.
        normalized: Whether the values are normalized already (contracts that normalize before the window).
    """

    values: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    num_leads: int
    order: list[int] | None = None
    gain: np.ndarray | None = None
    baseline: np.ndarray | None = None
    present: np.ndarray | None = None
    normalized: bool = False

    def select(self, keep: np.ndarray) -> "StoredSignals":
        """Some of the records; their values are not copied.

        Args:
            keep: Bool `(records,)`.
        """
        tables = {name: getattr(self, name) for name in ("gain", "baseline", "present")}
        kept = {name: table if table is None or len(table) == 1 else table[keep] for name, table in tables.items()}
        starts = self.offsets[: len(keep)]
        return replace(self, offsets=starts[keep], lengths=self.lengths[keep], **kept)


def store_signals(corpus: "Corpus", extractor: "EcgFeatureExtractor") -> StoredSignals:
    """Prepare the signals of a corpus so that only window, normalization and padding remain.

    A corpus at the contract's rate with its leads is used as stored on disk, without a copy where it is one file. Any
    other corpus is resampled, filtered and reduced to the contract's leads once, record by record, and kept as float32.

    Raises:
        SignalError: If a signal cannot be prepared.
        LeadError: If leads are missing that the contract demands.
    """
    contract = extractor.contract
    if contract.reference != "none":
        return _minus_reference(corpus, extractor)
    if _lies_ready(corpus, contract):
        packed = corpus.packed()
        order = lead_indices(packed.leads, contract.lead_names)
        same = order == list(range(len(packed.leads)))
        present = None if contract.used_leads is None else np.tile(contract.is_used, (len(corpus), 1))
        return StoredSignals(
            packed.values,
            packed.offsets,
            packed.num_samples,
            len(packed.leads),
            None if same else order,
            _one_row_if_equal(packed.gain),
            _one_row_if_equal(packed.baseline),
            present,
        )
    logger.warning(
        f"{corpus.name} is not stored as the model takes it ({contract.sampling_rate:g} Hz, "
        f"{len(contract.lead_names)} leads): its {len(corpus)} records are prepared in memory now. "
        f"training/prepare.py --sampling_rate {contract.sampling_rate:g} would do most of it once and for all."
    )
    return _prepare(corpus, contract)


def _minus_reference(corpus: "Corpus", extractor: "EcgFeatureExtractor") -> StoredSignals:
    """Normalized beats minus the median of all normalized beats of their recording, also of those not in `corpus`."""
    plain = copy(extractor)
    plain.reference = "none"
    parents = np.unique(corpus.parent_ids)
    if NO_PARENT in parents:
        raise CorpusError(
            f"reference is {extractor.reference!r}, and {corpus.name} has records that are no beats of a recording. "
            "Prepare a corpus of beats (mitdb_beats), or set reference to 'none'."
        )
    family = corpus.whole.select(np.isin(corpus.whole.parent_ids, parents))
    stored = store_signals(family, plain)
    if not (stored.lengths == extractor.window_size).all():
        raise CorpusError(
            f"{corpus.name} has beats of {stored.lengths.min()} to {stored.lengths.max()} samples; expected "
            f"{extractor.window_size}, the window of the model."
        )
    beats = stored.values.reshape(len(family), stored.num_leads, -1)
    if stored.gain is not None and stored.baseline is not None:
        beats = (beats - stored.baseline[..., np.newaxis]) / stored.gain[..., np.newaxis]
    beats = beats if stored.order is None else beats[:, stored.order]
    beats = plain.normalize_batch(torch.from_numpy(np.array(beats, dtype=np.float32))).numpy()
    for parent in parents:  # recordings differ in their number of beats
        own = family.parent_ids == parent
        beats[own] -= np.median(beats[own], axis=0)
    beats = beats[np.searchsorted(family.indices, corpus.indices)]
    lengths = np.full(len(corpus), extractor.window_size, dtype=np.int64)
    num_leads = beats.shape[1]
    offsets = np.concatenate([[0], np.cumsum(lengths * num_leads)])
    return StoredSignals(beats.reshape(-1), offsets, lengths, num_leads, normalized=True)


def _lies_ready(corpus: "Corpus", contract: "SignalContract") -> bool:
    leads = set(corpus.leads)
    to_filter = contract.bandpass is not None or contract.notch is not None
    return (
        len(leads) == 1
        and set(corpus.sampling_rates.tolist()) == {float(contract.sampling_rate)}
        and set(contract.lead_names) <= set(next(iter(leads)))
        and not (to_filter and "filter" in contract.remaining_steps(corpus.info.get("preprocessed_by")))
        and contract.order_of("window") < contract.order_of("normalize")
        and not corpus.invalid_samples.any()
        and not contract.removes_offset
    )


def _prepare(corpus: "Corpus", contract: "SignalContract") -> StoredSignals:
    steps = contract.remaining_steps(corpus.info.get("preprocessed_by"))
    early = [step for step in steps if contract.order_of(step) < contract.order_of("window")]
    signals, present = [], []
    # Records differ in rate, length and leads, and each is prepared once in a run.
    for record in corpus:
        length = resampled_length(record.num_samples, record.sampling_rate, contract.sampling_rate)
        whole = contract.for_whole(length, allow_short=False)
        prepared = prepare_record(record, whole, steps=early, window_mode="crop")
        signals.append(prepared.windows[0])
        present.append(prepared.present)
    lengths = np.array([signal.shape[1] for signal in signals], dtype=np.int64)
    num_leads = len(contract.lead_names)
    offsets = np.concatenate([[0], np.cumsum(lengths * num_leads)])
    values = np.concatenate([signal.reshape(-1) for signal in signals], dtype=np.float32)
    flags = np.stack(present)
    return StoredSignals(
        values,
        offsets,
        lengths,
        num_leads,
        present=None if flags.all() else flags,
        normalized="normalize" in early or "normalize" not in steps,
    )


def _one_row_if_equal(table: np.ndarray) -> np.ndarray:
    """Keep one row of a `(records, leads)` table whose rows are all alike."""
    table = np.asarray(table, dtype=np.float32)
    return table[:1] if (table == table[:1]).all() else table
