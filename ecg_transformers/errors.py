"""The errors of the package: one small hierarchy; a message states what was found, what is expected and what to set."""

import difflib
import re
from collections.abc import Callable, Iterable

__all__ = [
    "ArgumentsError",
    "CheckpointError",
    "CorpusError",
    "EcgError",
    "LeadError",
    "RecordFileError",
    "SignalError",
    "check_names",
    "without_advice",
]

_ADVICE = re.compile(r"(?<=[.?]) (?=(?:Set|Pass|Leave) )")
_ARGUMENT = re.compile(r"\b([a-z_]+)=")


class EcgError(ValueError):
    """Any mistake in recordings, files, corpora or checkpoints that this package reports.

    Attributes:
        argument: Name of the argument that a file contradicts, or does not take; None for any other mistake.
    """

    argument: str | None = None

    def about(self, argument: str) -> "EcgError":
        """This error, marked as one about an argument that the file makes superfluous."""
        self.argument = argument
        return self


class ArgumentsError(EcgError):
    """A name or value in a YAML file or on the command line that cannot be used."""


class SignalError(EcgError):
    """An array, sampling rate, unit or window that cannot be used as it is."""


class LeadError(EcgError):
    """Lead names that are missing, unknown, doubled or in contradiction to the signal."""


class RecordFileError(EcgError):
    """A recording's file that is missing, damaged, incomplete or of a form that cannot be read."""


class CorpusError(EcgError):
    """A corpus, its table, its labels or its folds that do not fit together."""


class CheckpointError(EcgError):
    """A checkpoint whose parts are missing or contradict one another or the call."""


def check_names(names: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Refuse names that nothing takes, with the nearest known ones.

    Raises:
        ArgumentsError: For the first unknown name.
    """
    known = set(known)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            hint = f" Did you mean {', '.join(near)}?" if near else " See --help for all names."
            raise ArgumentsError(f"{where} has {name!r}, which is no known setting.{hint}")


def without_advice(message: str, takes: Callable[[str], bool]) -> str:
    """A message without the sentences of advice ("Set ...", "Pass ...") whose arguments are none that can be set.

    Args:
        message: The message.
        takes: Whether an argument can be set.

    Example:
        >>> without_advice("Two arrays. Set key= to one.", lambda name: name == "units")
        'Two arrays.'
    """
    first, *advice = _ADVICE.split(message)
    named = ((text, _ARGUMENT.findall(text)) for text in advice)
    return " ".join([first, *(text for text, names in named if not names or any(map(takes, names)))])
