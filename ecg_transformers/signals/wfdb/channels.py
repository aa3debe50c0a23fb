"""Selection and calibration of the signals of a WFDB header."""

from collections.abc import Sequence

from ...errors import LeadError, RecordFileError, SignalError
from ..leads import canonical_lead
from ..record import OTHER_QUANTITIES, unit_scale
from .header import WfdbHeader

__all__ = ["NOT_CALIBRATED", "calibrate", "choose_channels"]

# Notes on a record whose unit or gain was assumed.
NOT_CALIBRATED = (
    "the header states no unit: taken as mV, the default of WFDB",
    "uncalibrated (gain 0 in the header), taken with WFDB's 200/mV",
)

# Raw units per mV: from 1 per V to the resolution of a 32-bit converter.
_MIN_GAIN, _MAX_GAIN = 1e-3, 1e10


def choose_channels(header: WfdbHeader, channels: Sequence[int | str] | None, *, notes: list[str]) -> list[int]:
    """Positions of the signals to read, in the requested order.

    Args:
        header: Header.
        channels: Positions or names of signals; None: all voltages.
        notes: Receives a note on skipped signals.

    Raises:
        LeadError: If a channel is missing, ambiguous or requested twice.
        SignalError: If a channel is not a voltage.
        RecordFileError: If the record holds no voltage.
    """
    signals = header.signals
    others = [index for index, signal in enumerate(signals) if (signal.units or "").casefold() in OTHER_QUANTITIES]
    units = ", ".join(str(signal.units) for signal in signals)
    if channels is None:
        if len(others) == len(signals):
            raise RecordFileError(f"{header.path} holds no voltage (units: {units}); expected an ECG in mV, uV or V.")
        if others:
            left_out = ", ".join(f"{signals[index].name} ({signals[index].units})" for index in others)
            notes.append(f"left out, no voltage: {left_out}")
        return [index for index in range(len(signals)) if index not in others]
    names = [canonical_lead(signal.name) if signal.name else "" for signal in signals]
    wanted: list[int] = []
    for channel in channels:
        if isinstance(channel, str):
            found = [index for index, name in enumerate(names) if name == canonical_lead(channel)]
        else:
            found = [int(channel)] if 0 <= channel < len(signals) else []
        if len(found) != 1 or found[0] in wanted:
            raise LeadError(
                f"{header.path} has the signals {', '.join(names)}; channels={list(channels)!r} asks for {channel!r}, "
                "which is missing, ambiguous or requested twice."
            )
        wanted += found
    if not wanted or set(wanted) & set(others):
        raise SignalError(f"{header.path}: channels={list(channels)!r} must name voltages (units: {units}).")
    return wanted


def calibrate(
    header: WfdbHeader, wanted: Sequence[int], *, units: str | None, gain: float | None, notes: list[str]
) -> list[float]:
    """Raw units per mV for each selected signal.

    Args:
        header: Header.
        wanted: Positions of the signals.
        units: Unit from the caller, for signals without one.
        gain: Gain from the caller per `units` (default: mV), which overrides the header.
        notes: Receives notes on assumptions and conversions.

    Raises:
        RecordFileError: If a unit is not a voltage, or contradicts that of the caller.
        SignalError: If the gain or unit of the caller is invalid.
    """
    signals = [header.signals[index] for index in wanted]
    if gain is not None:
        per_millivolt = float(gain) / unit_scale(units or "mV")
        if not _MIN_GAIN <= abs(per_millivolt) <= _MAX_GAIN:
            raise SignalError(f"gain is {gain}; expected a number of units per mV such as 1000.")
        stated = ", ".join(dict.fromkeys(f"{signal.gain:g}" if signal.calibrated else "none" for signal in signals))
        notes.append(f"gain {per_millivolt:g}/mV set by the caller (header: {stated})")
        return [per_millivolt] * len(signals)
    calibration, converted, uncalibrated, without_unit = [], [], [], False
    for index, signal in zip(wanted, signals, strict=True):
        unit = signal.units or units
        if not signal.calibrated:
            uncalibrated.append(signal.name or str(index))
        without_unit |= signal.calibrated and unit is None
        try:
            scale = unit_scale(unit or "mV")
        except SignalError:
            raise RecordFileError(
                f"{header.path}, line {signal.line}: the unit is {unit!r}; expected a voltage (mV, uV, V). "
                "Set channels= to the names of other signals, or gain= (raw units per mV)."
            ) from None
        if signal.units and units and scale != unit_scale(units):
            raise RecordFileError(
                f"{header.path}, line {signal.line} states {signal.units}, and units={units!r} was passed. "
                "Leave units= out; if the header is wrong, set gain= too."
            ).about("units")
        if scale != 1:
            converted.append(str(unit))
        per_millivolt = signal.gain / scale
        if not _MIN_GAIN <= abs(per_millivolt) <= _MAX_GAIN:
            raise RecordFileError(
                f"{header.path}, line {signal.line}: the gain is {signal.gain:g}/{unit or 'mV'}; expected "
                f"{_MIN_GAIN:g} to {_MAX_GAIN:g} per mV. Set gain= (raw units per mV)."
            )
        calibration.append(per_millivolt)
    if without_unit:
        notes.append(NOT_CALIBRATED[0])
    if uncalibrated:
        notes.append(f"{NOT_CALIBRATED[1]}: {', '.join(uncalibrated)}")
    if converted:
        notes.append(f"converted {', '.join(dict.fromkeys(converted))} -> mV")
    return calibration
