"""Corpora: names, preparation of their official trees, labels and splits; others join with `register_corpus`."""

from difflib import get_close_matches
from importlib import import_module

from ..errors import CorpusError
from .definition import CorpusDefinition
from .fold_roles import FoldRoles

__all__ = ["CORPORA", "corpus_definition", "official_fold_roles", "register_corpus"]

# Name on the command line -> module and name of the definition, or the definition of one that was added.
CORPORA: dict[str, tuple[str, str] | CorpusDefinition] = {
    "ptbxl": ("ptbxl", "PTBXL"),
    "mitdb": ("mitdb", "MITDB"),
    "mitdb_beats": ("mitdb_beats", "MITDB_BEATS"),
    "cinc2017": ("cinc2017", "CINC2017"),
    "cpsc2018": ("challenge2021", "CPSC2018"),
    "cpsc_extra": ("challenge2021", "CPSC_EXTRA"),
    "georgia": ("challenge2021", "GEORGIA"),
    "chapman_shaoxing": ("challenge2021", "CHAPMAN_SHAOXING"),
    "ningbo": ("challenge2021", "NINGBO"),
    "ptb": ("challenge2021", "PTB"),
    "incart": ("challenge2021", "INCART"),
    "ptbxl_cinc": ("challenge2021", "PTBXL_CINC"),
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
        raise CorpusError(
            f"there is no corpus {name!r}; expected {', '.join(CORPORA)}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    entry = CORPORA[name]
    if isinstance(entry, CorpusDefinition):
        return entry
    module, attribute = entry
    return getattr(import_module(f"{__name__}.sources.{module}"), attribute)


def register_corpus(definition: CorpusDefinition) -> None:
    """Add a corpus under its name to those of `training/prepare.py` and `--corpus NAME --source DIR`.

    Args:
        definition: the corpus; one of the same name is replaced.
    """
    CORPORA[definition.name] = definition


def official_fold_roles(name: str) -> FoldRoles | None:
    """The published roles of a corpus's folds, where only its name is known (a result, an older prepared corpus).

    Args:
        name: Short name of the corpus.

    Returns:
        The roles; None for a corpus without official folds, and for one that is not in `CORPORA`.

    Example:
        >>> official_fold_roles("mitdb")
        FoldRoles(train=(1,), validation=(), test=(2,))
    """
    return corpus_definition(name).fold_roles if name in CORPORA else None
