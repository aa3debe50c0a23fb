"""Signals of a prepared corpus as views of its mapped files: record by record in mV, or all in one flat array."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..signals.digital import INVALID_SAMPLE, to_millivolts
from ..signals.quality import flat_leads

if TYPE_CHECKING:
    import pyarrow

__all__ = ["PackedSignals", "SignalStore"]

# Samples of a lead that are looked at first.
_SCREENED = 16


@dataclass(frozen=True)
class PackedSignals:
    """All signals of a corpus, concatenated.

    Record `i` is `values[offsets[i]:offsets[i + 1]].reshape(len(leads), -1)`; in mV: `(value - baseline[i]) /
    gain[i]`.

    Args:
        values: int16 or float32, one-dimensional.
        offsets: int64 `(records + 1,)`.
        gain: units per mV, float32 `(records, leads)`.
        baseline: the value that means 0 mV, float32 `(records, leads)`.
        sampling_rate: Hz.
        leads: lead names.
    """

    values: np.ndarray
    offsets: np.ndarray
    gain: np.ndarray
    baseline: np.ndarray
    sampling_rate: float
    leads: tuple[str, ...]

    def __len__(self) -> int:
        """The number of records."""
        return len(self.offsets) - 1

    @property
    def num_samples(self) -> np.ndarray:
        """Samples per lead of each record, int64 `(records,)`."""
        return np.diff(self.offsets) // len(self.leads)


class SignalStore:
    """The signals of tables in the layout of a prepared corpus; rows are numbered through all tables.

    Tables may differ in storage type, leads and rates. Nothing is read before it is asked for.

    Args:
        tables: tables with the columns `signal`, `gain` and `baseline`.
    """

    def __init__(self, tables: Sequence["pyarrow.Table"]) -> None:
        self.tables = tuple(tables)

    @cached_property
    def _chunks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Flat values and offsets of each Arrow chunk, as views of the mapped files."""
        return [
            (chunk.values.to_numpy(zero_copy_only=True), chunk.offsets.to_numpy(zero_copy_only=True))
            for table in self.tables
            for chunk in table.column("signal").chunks
        ]

    @cached_property
    def _first_rows(self) -> np.ndarray:
        """Number of the first row of each chunk, and the number of rows at the end."""
        return np.cumsum([0] + [len(offsets) - 1 for _, offsets in self._chunks])

    @cached_property
    def _scales(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gains and baselines of all leads of all rows, concatenated, and where each row begins."""
        gains, baselines, counts = [], [], []
        for table in self.tables:
            gain = table.column("gain").combine_chunks()
            gains.append(gain.flatten().to_numpy())
            baselines.append(table.column("baseline").combine_chunks().flatten().to_numpy())
            counts.append(gain.value_lengths().to_numpy())
        starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        return np.concatenate(gains), np.concatenate(baselines), starts

    def stored(self, row: int) -> np.ndarray:
        """The samples of a row as stored, flat, lead after lead, as a view."""
        chunk = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        values, offsets = self._chunks[chunk]
        local = row - self._first_rows[chunk]
        return values[offsets[local] : offsets[local + 1]]

    def millivolts(self, row: int) -> np.ndarray:
        """The signal of a row as float32 `(leads, samples)` in mV, NaN where a sample is marked as missing."""
        gains, baselines, starts = self._scales
        first, last = starts[row], starts[row + 1]
        stored = self.stored(row).reshape(last - first, -1)
        if stored.dtype != np.int16:
            return stored.copy()
        return to_millivolts(stored, gains[first:last], baselines[first:last])

    def moves(self, row: int, leads: list[int]) -> bool:
        """Whether any of these leads of a row is not constant.

        Args:
            row: the row.
            leads: numbers of the leads.
        """
        gains, _, starts = self._scales
        first, last = starts[row], starts[row + 1]
        # A few samples decide for nearly every recording, in a tenth of the time.
        stored = self.stored(row).reshape(last - first, -1)
        some = stored[leads, :: stored.shape[1] // _SCREENED + 1].astype(np.float64)
        some[some == INVALID_SAMPLE] = np.nan
        if not flat_leads(some / gains[first:last][leads, np.newaxis]).all():
            return True
        return not flat_leads(self.millivolts(row)[leads]).all()

    def pack(self, rows: np.ndarray, *, sampling_rate: float, leads: tuple[str, ...]) -> PackedSignals:
        """Rows of the same leads and rate as one flat array: a view if they are one whole chunk, else a copy.

        Args:
            rows: int64 `(records,)`.
            sampling_rate: their rate in Hz.
            leads: their leads.
        """
        gains, baselines, starts = self._scales
        lengths = np.concatenate([np.diff(offsets) for _, offsets in self._chunks]).astype(np.int64)[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        if len(self._chunks) == 1 and np.array_equal(rows, np.arange(self._first_rows[-1])):
            values, stored = self._chunks[0]
            values = values[stored[0] : stored[-1]]
        else:
            values = np.empty(offsets[-1], np.result_type(*(chunk.dtype for chunk, _ in self._chunks)))
            for start, stop, row in zip(offsets[:-1], offsets[1:], rows, strict=True):
                values[start:stop] = record = self.stored(row)
                if record.dtype != values.dtype:
                    # Among float32 records a missing sample is NaN.
                    values[start:stop][record == INVALID_SAMPLE] = np.nan
        positions = starts[rows][:, None] + np.arange(len(leads))
        gain, baseline = (table[positions].astype(np.float32) for table in (gains, baselines))
        return PackedSignals(values, offsets, gain, baseline, sampling_rate, leads)
