"""The way to the Hub: whether it can be reached, and what its client raises in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import CheckpointError, EcgError

__all__ = ["check_hub", "hub_errors"]

_SECONDS = 10


@contextmanager
def hub_errors(what: str, advice: str = "", *, kind: type[EcgError] = CheckpointError) -> Iterator[None]:
    """Report what the Hub or the way to it refuses inside the `with` block in one line.

    Args:
        what: What failed; the first line of the client's message follows.
        advice: What to do, after that line.
        kind: Class of the error.

    Raises:
        EcgError: Of this class, if the block raises anything.
    """
    try:
        yield
    except Exception as error:  # the client raises its own, its transport's and the system's
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise kind(f"{what}: {reason}{advice}") from error


def check_hub() -> None:
    """Ask the Hub for a sign of life, once: the client itself tries again for half a minute where there is no network.

    Raises:
        Exception: Whatever the client raises; for use inside `hub_errors`.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    get_session().head(constants.ENDPOINT, timeout=_SECONDS)
