"""Checks of a whole corpus: its amplitude, and records of the same samples."""

from .prepared import Corpus

__all__ = ["amplitude_fault", "corpus_faults", "identical_fault"]

# mV by whether the records have six leads or more: median amplitude of PTB-XL, Georgia, CPSC 2018 and CinC 2017, and
# what lies between it and that of a corpus with a wrong gain.
_USUAL_AMPLITUDE = {True: (1.9, 0.8, 5.0), False: (1.1, 0.4, 4.0)}
# Pairs of identical records that are named.
_MAX_NAMED = 3


def corpus_faults(corpus: Corpus) -> list[str]:
    """What looks wrong with a corpus as a whole."""
    return [fault for fault in (amplitude_fault(corpus), identical_fault(corpus)) if fault]


def amplitude_fault(corpus: Corpus) -> str | None:
    """A warning if the corpus looks too small or too large by one factor."""
    amplitude = corpus.info.get("median_amplitude")
    if not amplitude:
        return None
    usual, least, most = _USUAL_AMPLITUDE[max(map(len, set(corpus.leads))) >= 6]
    if least <= amplitude <= most:
        return None
    size = (
        f"{usual / amplitude:.3g} times too small" if amplitude < least else f"{amplitude / usual:.3g} times too large"
    )
    return f"the whole corpus looks {size} (usual: {usual:g} mV); check the gain in its headers"


def identical_fault(corpus: Corpus) -> str | None:
    """A warning if records have the same samples as others."""
    identical = corpus.info.get("identical_records", {"records": 0})
    if not identical["records"]:
        return None
    named = [f"{other} = {first}" for first, other in identical["pairs"][:_MAX_NAMED]]
    more = " ..." if identical["records"] > len(named) else ""
    count = "1 record has" if identical["records"] == 1 else f"{identical['records']:,} records have"
    return (
        f"{count} the same samples as another one ({', '.join(named)}{more}); leave them out, or name the patient of "
        "each record: otherwise they count twice, and a split can put them into training and test"
    )
