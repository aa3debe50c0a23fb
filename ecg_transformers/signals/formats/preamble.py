"""What the lines before the numbers of a text file state: sampling rate, unit, leads, columns.

Exports of watches and recorders begin with facts, one per line ("Sample Rate,512 hertz"), or with a comment in JSON
(the OpenSignals text format of BITalino and biosignalsplux).
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..leads import STANDARD_LEADS, canonical_lead
from ..record import is_unit

__all__ = ["VOLTAGES", "Facts", "find_facts", "is_fact"]

VOLTAGES = {"nv", "uv", "\N{MICRO SIGN}v", "\N{GREEK SMALL LETTER MU}v", "mv", "v"}

_KEY_VALUE = re.compile(r'"?\s*(?P<key>[^,;:=\t"]+?)\s*"?(?:\s*[,;:=\t])+\s*"?(?P<value>[^"]*?)"?\s*')
_RATE_KEY = re.compile(r"(sampl|abtast|mess|fr.?.?quen|frec|muest|chantillon|campion|rate\b|\bfs\b|\bsfreq\b)", re.I)
# Edges of filters are in Hz, too.
_FILTER = re.compile(r"(filter|pass|cut|notch|band|filt)", re.I)
_HERTZ = re.compile(r"(\d+(?:[.,]\d+)?)\s*(hz|her[tc]\w*|samples?\s*(/|per)\s*s\w*|sps)", re.I)
_INTERVAL = re.compile(r"(\d+(?:[.,]\d+)?)\s*(us|ms|msec|s|sec)\s*(/|per)\s*sample", re.I)
_INTERVAL_VALUE = re.compile(r"(\d+(?:[.,]\d+)?(?:e-\d+)?)\s*(us|ms|msec|s|sec)", re.I)
_INTERVAL_KEY = re.compile(r"interval", re.I)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "msec": 1e-3, "s": 1.0, "sec": 1.0}
_LEAD_KEY = re.compile(
    r"(leads?|lead ?names?|ableitung(en)?|d.rivations?|derivaci.n|channel ?(title|names?)|channels?)", re.I
)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
# Sensors of the OpenSignals format whose channel is an ECG, or may be one.
_ECG_SENSORS = {"ecg", "ekg", "ecgbit", "raw", "custom", ""}


class Facts(NamedTuple):
    """Facts of a file; None where it does not state them.

    Attributes:
        sampling_rate: Hz.
        units: Voltage unit as written.
        leads: Lead names as written.
        columns: Names of all columns.
        signals: Of these, the columns that are an ECG.
        notes: Notes on the facts.
    """

    sampling_rate: float | None = None
    units: str | None = None
    leads: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    signals: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def names_one_lead(self) -> bool:
        """Whether the file has one lead."""
        return self.leads is not None and len(self.leads) == 1


def find_facts(lines: Iterable[str]) -> Facts:
    """The facts in the lines and comments before the numbers; of a fact with two different values none."""
    lines = list(lines)
    for line in lines:
        if line.startswith("{") and (found := _open_signals(line)) is not None:
            return found
    rates, units, leads = set(), set(), set()
    for line in lines:
        if (rate := _rate(line)) is not None:
            rates.add(rate)
        pair = _KEY_VALUE.fullmatch(line.strip())
        if pair is None:
            continue
        value = pair["value"].strip()
        if value.casefold() in VOLTAGES or (value[:1].isdigit() and is_unit(value)):
            units.add(value)
        elif _LEAD_KEY.fullmatch(pair["key"].strip()) and value:
            leads.add(tuple(_lead(name) for name in re.split(r"[,;\t]+", value) if name.strip()))
    return Facts(*(found.pop() if len(found) == 1 else None for found in (rates, units, leads)))  # type: ignore[arg-type]


def is_fact(fields: Sequence[str]) -> bool:
    """Whether a line of two fields states a fact: one that `find_facts` knows, or one after "=" or ":"."""
    if len([field for field in fields if field]) != 2:
        return False
    if fields[0].endswith(("=", ":")):
        return True
    found = find_facts([f"{fields[0]}: {fields[1]}"])
    return found != Facts()


def _rate(line: str) -> float | None:
    """Sampling rate in a line: a number of Hz, a number under a key that means a rate, or an interval."""
    if _FILTER.search(line):
        return None
    if found := _INTERVAL.search(line):
        return 1 / (_number(found[1]) * _SECONDS[found[2].casefold()])
    pair = _KEY_VALUE.fullmatch(line.strip())
    if pair is None:
        return None
    key, value = pair["key"], pair["value"].strip()
    if found := _HERTZ.fullmatch(value):
        return _number(found[1])
    if _RATE_KEY.search(key):
        if (found := _NUMBER.fullmatch(value)) and re.search(r"rate|freq|\bfs\b|hz", key, re.I):
            return _number(value)
        if found := _HERTZ.search(value):
            return _number(found[1])
    if _INTERVAL_KEY.search(key) and (found := _INTERVAL_VALUE.fullmatch(value)):
        return 1 / (_number(found[1]) * _SECONDS[found[2].casefold()])
    return None


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _lead(name: str) -> str:
    """A lead name without the word for "lead" in another language ("Ableitung I")."""
    name = name.strip()
    last = canonical_lead(name.split()[-1])
    return last if last in STANDARD_LEADS else name


def _open_signals(text: str) -> Facts | None:
    """The header of the OpenSignals text format: one entry per device, its columns after those of the one before."""
    try:
        devices = json.loads(text)
    except ValueError:
        return None
    if not isinstance(devices, dict) or not all(isinstance(device, dict) for device in devices.values()):
        return None
    columns: list[str] = []
    signals: list[str] = []
    rates, others, bits = set(), [], set()
    for device in devices.values():
        named = [str(name) for name in _listed(device, "column")]
        columns += named
        rates.add(device.get("sampling rate"))
        resolution = dict(zip(named, _listed(device, "resolution"), strict=False))
        sensors = [str(sensor) for sensor in _listed(device, "sensor")]
        for label, sensor in zip(map(str, _listed(device, "label")), [*sensors, *[""] * len(named)], strict=False):
            if sensor.casefold() in _ECG_SENSORS:
                signals.append(label)
                bits.add(resolution.get(label))
            else:
                others.append(f"{label} ({sensor})")
    if not columns:
        return None
    rate = rates.pop() if len(rates) == 1 else None
    notes = [f"no ECG, left out: {', '.join(others)}"] if others else []
    if len(bits) == 1 and None not in bits:
        notes.append(f"values of a {bits.pop()}-bit converter")
    return Facts(
        float(rate) if isinstance(rate, int | float) else None,
        None,
        None,
        tuple(columns),
        tuple(signals) or None,
        tuple(notes),
    )


def _listed(device: dict[str, Any], key: str) -> list[Any]:
    value = device.get(key, [])
    return value if isinstance(value, list) else [value]
