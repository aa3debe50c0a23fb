"""Code of others that adds readers, corpora and architectures: installed packages by entry points, files by name.

What it calls is `register_reader`, `register_corpus` and `register_architecture`. Nothing heavy is imported here.
"""

import logging
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from .errors import ArgumentsError

__all__ = ["ENTRY_POINTS", "import_extension", "load_entry_points"]

logger = logging.getLogger(__name__)

# Group of the entry points of packages that extend this one.
ENTRY_POINTS = "ecg_transformers.extensions"


def load_entry_points() -> None:
    """Load the entry points of installed packages: modules, or functions that are called without arguments.

    One that fails is reported in a warning and does not stop the others.
    """
    for point in entry_points(group=ENTRY_POINTS):
        try:
            found = point.load()
            if callable(found):
                found()
        # Whatever is wrong with another package, this one can be used.
        except Exception as error:
            logger.warning(
                "the extension %s (%s) could not be loaded: %s: %s",
                point.name, point.value, type(error).__name__, error,
            )  # fmt: skip


def import_extension(name: str) -> None:
    """Import a file or a module whose code registers something.

    Args:
        name: Path of a Python file, or dotted name of a module. Files next to it can be imported by it and, by its own
            name, it can be imported by other processes.

    Raises:
        ArgumentsError: There is no such file, or a file whose name another module has.
        ImportError: There is no such module.
    """
    path = Path(name)
    if path.suffix != ".py":
        import_module(name)
        return
    if not path.is_file():
        raise ArgumentsError(f"--import is {name}, which does not exist; expected a Python file or a module.")
    if str(path.resolve().parent) not in sys.path:
        sys.path.insert(0, str(path.resolve().parent))
    module = import_module(path.stem)
    if Path(module.__file__ or "").resolve() != path.resolve():
        raise ArgumentsError(f"--import is {name}, but {path.stem} is the name of another module: rename the file.")
