"""Settings of the scripts for files that do not state everything and for unusual recordings, declared once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ..option import option
from .entry import script_text

__all__ = ["FileSettings", "RecordingSettings", "refusal_lines"]

_FILES: dict[str, Any] = {"group": "Files that do not state everything"}
_RECORDINGS: dict[str, Any] = {"group": "Unusual recordings"}
# Reasons for refusals that are printed; the others are in refused.csv.
_MAX_LISTED = 8


@dataclass(frozen=True)
class FileSettings:
    """What is taken for files that do not state it; what a file states goes before."""

    read_sampling_rate: float | None = option(None, help="Sampling rate of files that state none (Hz).", **_FILES)
    read_units: str | None = option(None, help="Unit of files that state none (mV, uV, V).", **_FILES)
    read_gain: float | None = option(
        None, help="Raw units per mV (or per the unit that is given) of files that state no unit.", **_FILES
    )
    read_leads: list[str] | None = option(None, help="Leads of files that name none.", **_FILES)
    read_decimal: Literal[".", ","] | None = option(
        None, help="Decimal mark of text files where they do not tell.", **_FILES
    )
    read_missing_value: float | None = option(
        None, help="Value that marks missing samples of files (mV), e.g. 9999.", **_FILES
    )
    read_key: str | None = option(None, help="Array of containers (HDF5, NPZ, MAT) that hold several.", **_FILES)
    read_index: int | None = option(None, help="Recording of arrays that hold several.", **_FILES)
    read_channels: list[str] | None = option(
        None, help="Signals of WFDB records, e.g. of one rate. Default: all voltages.", **_FILES
    )
    read_allow_truncated: bool | None = option(
        None, help="Read the complete samples of WFDB files that were cut off.", **_FILES
    )

    @property
    def read_options(self) -> dict[str, Any]:
        """The settings that were given, by the names of `read_record`."""
        values = {entry.name.removeprefix("read_"): getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class RecordingSettings:
    """Rules for unusual recordings; those that are set are saved with the checkpoint. Default: the checkpoint's."""

    derive_leads: bool | None = option(
        None, help="Compute III, aVR, aVL, aVF from I and II where absent.", **_RECORDINGS
    )
    treat_as: dict[str, str] | None = option(
        None, help="Leads that stand for absent ones, e.g. ECG=I MLII=II.", **_RECORDINGS
    )
    missing_leads: Literal["error", "mask"] | None = option(
        None, help="Absent leads: an error, or zeros marked in lead_mask.", **_RECORDINGS
    )
    flat_lead: Literal["mask", "keep", "error"] | None = option(
        None, help="Constant leads: marked in lead_mask, kept, or an error.", **_RECORDINGS
    )
    nan_policy: Literal["error", "interpolate", "mask_lead"] | None = option(
        None, help="Missing samples: an error, interpolated, or the end of their lead.", **_RECORDINGS
    )
    max_gap_seconds: float | None = option(
        None, help="Longest gap that nan_policy interpolate bridges (s).", **_RECORDINGS
    )
    implausible_amplitude: Literal["error", "accept"] | None = option(
        None, help="Values that cannot be millivolts: an error, or taken as they are.", **_RECORDINGS
    )
    electrode_offset: Literal["error", "remove"] | None = option(
        None, help="Leads far from 0 mV: an error, or the median of each lead is subtracted.", **_RECORDINGS
    )
    allow_short: bool | None = option(
        None, help="Pad recordings shorter than a window, if the model takes an attention mask.", **_RECORDINGS
    )

    @property
    def policies(self) -> dict[str, Any]:
        """The settings that were given, by the names of `EcgFeatureExtractor.with_policies`."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def refusal_lines(refused: Sequence[Mapping[str, str]], total: int, where: str, options: Collection[str]) -> str:
    """The refused records with their reasons, and their number after them.

    Args:
        refused: Rows of `refused.csv`.
        total: Number of records, refused ones included.
        where: The file that lists all of them.
        options: Names of the options of the script.
    """
    lines = [f"  {row['name']}: {script_text(row['reason'], options)}" for row in refused[:_MAX_LISTED]]
    if len(refused) > _MAX_LISTED:
        lines.append(f"  ... and {len(refused) - _MAX_LISTED} more")
    return "\n".join([*lines, f"refused: {len(refused):,} of {total:,} records; all reasons are in {where}"])
