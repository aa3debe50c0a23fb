"""Corpora: what they are called, how their official trees become prepared corpora, labels and splits."""

from difflib import get_close_matches
from importlib import import_module

from ecg_transformers.corpora.definition import CorpusDefinition
from ecg_transformers.errors import CorpusError

__all__ = ["CORPORA", "corpus_definition"]

# Name on the command line -> module and name of the definition.
CORPORA: dict[str, tuple[str, str]] = {
    "ptbxl": ("ptbxl", "PTBXL"),
}


def corpus_definition(name: str) -> CorpusDefinition:
    """The definition of a corpus by its name.

    Raises:
        CorpusError: there is none of that name; the nearest is named.

    Example:
        >>> corpus_definition("ptbxl").expected["records"]
        21799
    """
    if name not in CORPORA:
        near = get_close_matches(name, CORPORA, n=1)
        raise CorpusError(f"there is no corpus {name!r}; expected {', '.join(CORPORA)}." + (f" Did you mean {near[0]!r}?" if near else ""))
    module, attribute = CORPORA[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
