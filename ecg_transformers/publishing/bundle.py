"""The source code in a published folder: flat modules that import one another by `from .name`.

The package consists of sub-packages (`layers/patches.py`); code that is loaded with `trust_remote_code=True` must be
flat files next to the weights, and Transformers finds what to copy by lines of the form `from .name import ...`.
Starting at the modules of the entry classes, imports are followed with `ast`, every module that is reached becomes one
file (`layers/patches.py` -> `layers_patches.py`), and its imports are rewritten. What inference does not need is
refused, so that a published folder requires only numpy, scipy, torch and transformers. A family that lives in another
package than this one is bundled in the same way, with those of its own modules that it imports.
"""

import ast
import re
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import CheckpointError

__all__ = ["Bundle", "bundle", "check_flat_source"]

PACKAGE = "ecg_transformers"

# Modules that keep their last name: they are the ones that `auto_map` names.
ENTRY_PREFIXES = ("configuration_", "modeling_", "pretraining_", "feature_extraction_")

ALLOWED_LIBRARIES = frozenset({"numpy", "scipy", "torch", "transformers", "huggingface_hub", "safetensors"})

# Standard modules with which a model could run a command, open a connection or load a pickle.
REFUSED_STANDARD = frozenset(
    {"ctypes", "dbm", "http", "marshal", "multiprocessing", "pickle", "shelve", "socket", "subprocess", "urllib"}
)
REFUSED_CALLS = frozenset({"__import__", "import_module", "exec"})

# Modules and sub-packages, with what they are for.
REFUSED_PARTS = {
    "auto": "the registry of the installed package",
    "cli": "the command line",
    "commands": "commands",
    "corpora": "corpora",
    "evaluation": "evaluation",
    "files": "writing files",
    "metrics": "evaluation",
    "pipelines.files": "reading files",
    "publishing": "publishing",
    "signals.formats": "reading files",
    "signals.wfdb": "reading files",
    "trainer": "training",
    "viz": "plotting",
}
PRETRAINING_PARTS = {"augmentations": "augmentations", "objectives": "objectives"}

# The two patterns by which Transformers looks for further files; they match inside docstrings too.
RELATIVE_IMPORTS = (
    re.compile(r"^\s*import\s+\.(\S+)\s*$", flags=re.MULTILINE),
    re.compile(r"^\s*from\s+\.(\S+)\s+import", flags=re.MULTILINE),
)

LINE_LENGTH = 120


@dataclass(frozen=True)
class Bundle:
    """The flat copy of a set of modules.

    Attributes:
        files: File name (`modeling_mae_moco.py`) to source text, in alphabetical order.
        names: Module (`ecg_transformers.layers.patches`) to flat module name (`layers_patches`).
    """

    files: dict[str, str]
    names: dict[str, str]

    def reference(self, module: str, class_name: str) -> str:
        """Returns the `auto_map` entry of a class, `module.Class` with the flat module name.

        Args:
            module: Dotted module of the class.
            class_name: Name of the class.

        Raises:
            CheckpointError: If the module is not part of this bundle.
        """
        if module not in self.names:
            raise CheckpointError(f"{class_name} is defined in {module}, which is not among the bundled modules.")
        return f"{self.names[module]}.{class_name}"


def bundle(entries: Iterable[str], *, root: str | Path | None = None, with_pretraining: bool = False) -> Bundle:
    """Collects the modules that the entry modules need and rewrites them for one flat folder.

    Args:
        entries: Dotted modules to start from, e.g. `ecg_transformers.models.mae_moco.modeling_mae_moco`.
        root: Folder of the package; by default the installed `ecg_transformers`.
        with_pretraining: Whether objectives and augmentations may be part of it: only where the pretraining state is
            published too.

    Returns:
        The flat files and their names. The same sources give the same bytes.

    Raises:
        CheckpointError: If a module needs something that a checkpoint must not carry, or imports in a form that remote
            loading cannot follow. The message names file and line.
    """
    root = Path(root) if root is not None else Path(__file__).resolve().parents[1]
    refused = dict(REFUSED_PARTS) if with_pretraining else REFUSED_PARTS | PRETRAINING_PARTS
    names: dict[str, str] = {}
    files: dict[str, str] = {}
    queue = deque(dict.fromkeys(entries))
    while queue:
        module = queue.popleft()
        if module in names:
            continue
        flat = _flat_name(module)
        clash = next((other for other, taken in names.items() if taken == flat), None)
        if clash is not None:
            raise CheckpointError(f"{module} and {clash} would both be written as {flat}.py; rename one of them.")
        names[module] = flat
        source = _Source(module, root, refused)
        files[f"{flat}.py"] = source.rewritten()
        queue.extend(source.needed)
    for name, text in files.items():
        check_flat_source(name, text, files)
    return Bundle(dict(sorted(files.items())), names)


def check_flat_source(name: str, text: str, siblings: Iterable[str]) -> None:
    """Checks one flat file: it parses, and imports only its siblings and the libraries that inference needs.

    Args:
        name: File name, for messages.
        text: Source text.
        siblings: Names of the files in the same folder.

    Raises:
        CheckpointError: If it cannot be loaded as remote code from those files alone.
    """
    siblings = set(siblings)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise CheckpointError(f"{name} is not valid Python: {error}.") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                _check_library(alias.name, f"{name}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            _check_library(str(node.module), f"{name}:{node.lineno}")
            _check_names(node, f"{name}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom) and (node.level > 1 or not node.module or "." in node.module):
            raise CheckpointError(
                f"{name}:{node.lineno} imports from another folder; only `from .name import names` works here."
            )
    for pattern in RELATIVE_IMPORTS:
        for target in pattern.findall(text):
            if f"{target}.py" not in siblings:
                raise CheckpointError(
                    f"{name} has a line that looks like an import of .{target} (docstrings count), but {target}.py is "
                    "not in the folder. Reword the line or bundle the module."
                )


class _Source:
    """One module on its way into the flat folder."""

    def __init__(self, module: str, root: Path, refused: Mapping[str, str]) -> None:
        self.module = module
        self.root = root
        self.refused = refused
        self.path = self._file(module)
        self.needed: list[str] = []
        if self.path is None:
            raise CheckpointError(f"{module} has no source file; a bundle is made from files.")
        self.text = self.path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text, filename=str(self.path))

    def _file(self, module: str) -> Path | None:
        """The file of a module: of this package under `root`, of another one where it was loaded from."""
        if _is_ours(module):
            path = self.root.joinpath(*module.split(".")[1:]).with_suffix(".py")
        else:
            path = Path(getattr(sys.modules.get(module), "__file__", None) or "")
        return path if path.is_file() and path.name != "__init__.py" else None

    def rewritten(self) -> str:
        """Returns the text with every import of bundled modules replaced, and fills `needed`."""
        inside_functions = {
            id(inner)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for inner in ast.walk(node)
        }
        edits: list[tuple[ast.ImportFrom, str]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self._check_plain_import(node)
            elif isinstance(node, ast.ImportFrom):
                target = self._target(node)
                if target is None:
                    continue
                if id(node) in inside_functions:
                    self._refuse(node, f"imports {target} inside a function; import it at the top of the module")
                self._check_target(node, target)
                self.needed.append(target)
                edits.append((node, _import_text(_flat_name(target), node)))
            elif isinstance(node, ast.Call):
                self._check_call(node)
        path = f"{self.module.replace('.', '/')}.py"
        return f"# {path}, copied to the checkpoint with flat imports.\n{_replace(self.text, edits)}"

    def _target(self, node: ast.ImportFrom) -> str | None:
        """Returns the module to bundle that the statement names; None for a library."""
        parts = self.module.split(".")
        if node.level == 0:
            absolute = str(node.module)
            return absolute if absolute.partition(".")[0] in (PACKAGE, parts[0]) else None
        if node.level >= len(parts):
            self._refuse(node, "imports from outside the package")
        return ".".join([*parts[: len(parts) - node.level], *(node.module.split(".") if node.module else [])])

    def _check_target(self, node: ast.ImportFrom, target: str) -> None:
        names = ", ".join(alias.name for alias in node.names)
        if self._file(target) is None:
            self._refuse(node, f"imports {names} from {target}, which is no file; import from the file that defines it")
        inner = target.removeprefix(f"{PACKAGE}.")
        for part, subject in self.refused.items() if _is_ours(target) else ():
            if inner == part or inner.startswith(f"{part}."):
                self._refuse(node, f"imports {names} from {target}; a checkpoint carries no code for {subject}")
        if any(alias.name == "*" for alias in node.names):
            self._refuse(node, f"imports * from {target}; name what is needed")

    def _check_plain_import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name == PACKAGE or alias.name.startswith(f"{PACKAGE}."):
                self._refuse(node, f"imports {alias.name} as a module; write `from {alias.name} import names`")

    def _check_call(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in REFUSED_CALLS:
            self._refuse(node, f"calls {called}; code of a checkpoint imports by plain statements only")

    def _refuse(self, node: ast.AST, reason: str) -> None:
        path = f"{self.module.replace('.', '/')}.py"
        raise CheckpointError(f"{path}:{getattr(node, 'lineno', 0)} {reason}.")


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE


def _flat_name(module: str) -> str:
    last = module.rpartition(".")[2]
    if last.startswith(ENTRY_PREFIXES) or not _is_ours(module):
        return last
    return module.removeprefix(f"{PACKAGE}.").replace(".", "_")


def _check_library(module: str, place: str) -> None:
    top = module.partition(".")[0]
    if top in REFUSED_STANDARD:
        raise CheckpointError(f"{place} imports {module}; code of a checkpoint does not use {top}.")
    if top not in ALLOWED_LIBRARIES and top not in sys.stdlib_module_names:
        raise CheckpointError(
            f"{place} imports {module}; code of a checkpoint may import only the standard library and "
            f"{', '.join(sorted(ALLOWED_LIBRARIES))}."
        )
    if module.startswith("transformers.trainer"):
        raise CheckpointError(f"{place} imports {module}; a checkpoint carries no code for training.")


def _check_names(node: ast.ImportFrom, place: str) -> None:
    if str(node.module).partition(".")[0] == "transformers":
        for alias in node.names:
            if alias.name.startswith(("Trainer", "TrainingArguments")):
                raise CheckpointError(f"{place} imports {alias.name}; a checkpoint carries no code for training.")


def _import_text(flat: str, node: ast.ImportFrom) -> str:
    names = [alias.name if alias.asname is None else f"{alias.name} as {alias.asname}" for alias in node.names]
    line = f"from .{flat} import {', '.join(names)}"
    if node.col_offset + len(line) <= LINE_LENGTH:
        return line
    indent = " " * node.col_offset
    return "\n".join([f"from .{flat} import (", *(f"{indent}    {name}," for name in names), f"{indent})"])


def _replace(text: str, edits: list[tuple[ast.ImportFrom, str]]) -> str:
    """Puts new statements over the spans of the old ones (`ast` counts columns in bytes of UTF-8)."""
    lines = text.encode("utf-8").splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    content = b"".join(lines)
    for node, replacement in sorted(edits, key=lambda edit: edit[0].lineno, reverse=True):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[int(node.end_lineno or node.lineno) - 1] + int(node.end_col_offset or 0)
        content = content[:begin] + replacement.encode("utf-8") + content[end:]
    return content.decode("utf-8")
