"""Lead names: canonical spelling, aliases, and the algebra of the limb leads.

Names are compared ignoring case, blanks, `-`, `_` and the word "lead"; `DI`, `DII`, `DIII` are I, II, III, and "ECG" or
"EKG" may precede a name, as in EDF+. Only spellings of the same electrodes are aliases: `MLII` (a Holter lead),
`ML5` and the Frank leads `X Y Z` keep their own names.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from ..errors import LeadError, SignalError

__all__ = [
    "STANDARD_LEADS",
    "canonical_lead",
    "canonical_leads",
    "derive_limb_leads",
    "lead_indices",
    "listed",
]

STANDARD_LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

# Other leads with an established spelling, so that "mlii" and "MLII" are one lead.
_OTHER_LEADS = (
    *("MLI", "MLII", "MLIII", "ML5", "MV1", "MV2", "MV5"),
    *("V7", "V8", "V9", "V1R", "V2R", "V3R", "V4R", "V5R", "V6R"),
    *("X", "Y", "Z", "ECG"),
)


# Names that a message lists: more than the leads of any usual recording.
_MAX_LISTED = 16


def listed(names: Iterable[str | None]) -> str:
    """Names for a message: all, or the first of many and their number.

    Example:
        >>> listed(["I", "II"]), listed(map(str, range(1000)))[-17:]
        ('I, II', '14, 15 ... (1000)')
    """
    texts = list(map(str, names))
    more = f" ... ({len(texts)})" if len(texts) > _MAX_LISTED else ""
    return ", ".join(texts[:_MAX_LISTED]) + more


@lru_cache(maxsize=4096)
def _key(name: str) -> str:
    """Key under which all spellings of a lead are equal."""
    key = "".join(name.split()).replace("_", "").casefold()
    # A leading minus is a sign, not a hyphen: "-aVR" in the Cabrera sequence is the inverted lead.
    sign = "-" if key[:1] in ("-", "\N{MINUS SIGN}") else ""
    key = key.replace("-", "").replace("\N{MINUS SIGN}", "")
    if key.startswith("lead") and key != "lead":
        key = key[len("lead") :]
    elif key.endswith("lead") and key != "lead":
        key = key[: -len("lead")]
    return sign + key


_CANONICAL = {_key(name): name for name in (*STANDARD_LEADS, *_OTHER_LEADS)}
_CANONICAL |= {"di": "I", "dii": "II", "diii": "III"}
_CANONICAL |= {
    f"{word}{key}": name
    for key, name in [*_CANONICAL.items()]
    for word in ("ecg", "ekg", "ecglead", "ekglead", "mdcecglead")
    if name != "ECG"
}


def canonical_lead(name: str) -> str:
    """Canonical spelling of a lead name; an unknown name is returned stripped.

    Raises:
        LeadError: If the name is not a string or is empty.

    Example:
        >>> canonical_lead("Lead II"), canonical_lead("AVR"), canonical_lead("EKG V1"), canonical_lead("MLII")
        ('II', 'aVR', 'V1', 'MLII')
    """
    if not isinstance(name, str):
        raise LeadError(f"a lead name is {name!r} ({type(name).__name__}); expected text such as 'II' or 'V1'.")
    if not name.strip():
        raise LeadError("a lead name is empty; expected text such as 'II' or 'V1'.")
    return _CANONICAL.get(_key(name), name.strip())


def canonical_leads(names: Iterable[str]) -> tuple[str, ...]:
    """Canonical spellings of several lead names, in the given order.

    Raises:
        LeadError: If two names mean the same lead, or a name is not a string.

    Example:
        >>> canonical_leads(["v1", "Lead II", "avf"])
        ('V1', 'II', 'aVF')
    """
    if isinstance(names, str):
        raise LeadError(f"leads is the text {names!r}; expected a list of names such as ['I', 'II', 'V1'].")
    written = list(names)
    try:
        return _distinct(tuple(written))
    except TypeError:  # a name that is no text
        return _distinct.__wrapped__(tuple(written))


@lru_cache(maxsize=1024)
def _distinct(written: tuple[str, ...]) -> tuple[str, ...]:
    """Their canonical spellings; cached, for most recordings have the leads of others."""
    canonical = tuple(canonical_lead(name) for name in written)
    seen: dict[str, str] = {}
    for name, spelling in zip(canonical, written, strict=True):
        if _key(name) in seen:
            raise LeadError(
                f"lead {name} occurs twice (written {seen[_key(name)]!r} and {spelling!r}) among {listed(written)}; "
                "expected every lead once. Name the leads explicitly with leads=[...]."
            )
        seen[_key(name)] = spelling
    return canonical


def lead_indices(have: Sequence[str], want: Iterable[str]) -> list[int]:
    """Positions of the leads `want` among the leads `have`; spellings may differ.

    Raises:
        LeadError: If a lead is missing.

    Example:
        >>> lead_indices(["I", "II", "V1"], ["v1", "DI"])
        [2, 0]
    """
    position = {_key(name): index for index, name in enumerate(canonical_leads(have))}
    wanted = canonical_leads(want)
    missing = [name for name in wanted if _key(name) not in position]
    if missing:
        raise LeadError(
            f"found leads {listed(have)}; {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing. "
            "Ask for leads that the record has, or read it with treat_as={'MLII': 'II'} for another lead's equivalent."
        )
    return [position[_key(name)] for name in wanted]


def derive_limb_leads(signal: np.ndarray, leads: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Compute missing leads among III, aVR, aVL, aVF from I and II (Einthoven, Goldberger).

    III = II - I, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2. Existing leads are unchanged; without both I
    and II nothing is derived.

    Args:
        signal: `(..., leads, samples)`, mV.
        leads: Name of each lead.

    Returns:
        The signal with the derived leads appended, all lead names, and the names of the derived leads.

    Raises:
        LeadError: If a lead is named twice.
        SignalError: If the number of names differs from the number of leads.
    """
    names = canonical_leads(leads)
    if signal.ndim < 2 or signal.shape[-2] != len(names):
        raise SignalError(f"the signal has shape {signal.shape}; expected (leads, samples) with {len(names)} leads.")
    if "I" not in names or "II" not in names:
        return signal, names, ()
    one, two = (signal[..., names.index(name), :] for name in ("I", "II"))
    formulas = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
    derived = tuple(name for name in formulas if name not in names)
    if not derived:
        return signal, names, ()
    rows = [formulas[name][0] * one + formulas[name][1] * two for name in derived]
    added = np.stack(rows, axis=-2).astype(signal.dtype, copy=False)
    return np.concatenate([signal, added], axis=-2), names + derived, derived
