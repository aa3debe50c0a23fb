"""The arrows between the parts of the package, and what its code never does, read from the sources with `ast`."""

import ast
import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from ecg_transformers.auto import ARCHITECTURES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ecg_transformers"

# What each part may import of the others, and no pair both ways; all may import GROUND.
BLOCKS = {"layers", "augmentations", "objectives"}
GROUND = {"errors", "files", "hashing", "hub_access", "option"}
MODEL_SIDE = {
    "signals", "features", "readout", "configuration", "conversion", "modeling", "backbone", "models", "auto", *BLOCKS
}  # fmt: skip
READING = {*MODEL_SIDE, "corpora", "inference", "metrics"}
MAY_IMPORT: dict[str, set[str]] = {
    **{part: set() for part in GROUND},
    "signals": set(),
    "features": {"signals"},
    "corpora": {"signals", "features"},
    # What is read of an encoder: its poolings are built in `layers`.
    "readout": set(),
    **{block: set() for block in BLOCKS},
    "layers": {"readout"},
    "configuration": {"signals", "readout"},
    "modeling": {"layers", "readout"},
    "backbone": {"configuration", "modeling"},
    # Types of what a converter returns.
    "conversion": {"features", "modeling"},
    "models": {"conversion", "signals", "features", "configuration", "modeling", "backbone", *BLOCKS},
    "auto": {"models"},
    "inference": {*MODEL_SIDE, "corpora"},
    # Patients of the bootstrap; windows joined to records for the stock Trainer.
    "metrics": {"corpora", "inference"},
    "pipelines": {*MODEL_SIDE, "corpora", "inference"},
    "trainer": READING,
    "evaluation": {*READING, "trainer"},
    # A card draws its pictures, and a run its plots: inside functions only (see below).
    "publishing": {*READING, "trainer", "evaluation", "viz"},
    "exporting": {*MODEL_SIDE, "inference", "publishing"},
    "commands": {*READING, "trainer", "evaluation", "publishing", "viz", "extensions"},
    # What the entries of results.json say is known to those who write, print and draw them.
    "viz": {"signals", "evaluation"},
    # The demo app: what pipelines compute, on a page.
    "app": {*READING, "pipelines", "trainer", "viz"},
    "cli": {*READING, "trainer", "evaluation", "publishing", "exporting", "commands", "viz", "listing", "app"},
    "extensions": set(),
    "listing": set(),
    # Registration; all else by name, when it is first asked for.
    "__init__": {"auto", "extensions", "pipelines"},
}

# Libraries that a part must not know at all, not even inside a function.
DATA_LIBRARIES = {"datasets", "evaluate", "wfdb", "matplotlib", "pandas", "h5py", "sklearn"}
MUST_NOT_KNOW: dict[str, set[str]] = {
    "signals": {"torch", "transformers", "datasets", "evaluate", "accelerate", "pandas"},
    "features": {*DATA_LIBRARIES, "accelerate"},
    "corpora": {"torch", "pandas"},
    **{
        part: {*DATA_LIBRARIES, "accelerate", "scipy"}
        for part in (*BLOCKS, "models", "modeling", "backbone", "configuration", "readout")
    },
}

# Libraries that are imported where they are used: inference works without them.
LAZY = {
    *DATA_LIBRARIES,
    "accelerate",
    "ecgdatakit",
    "onnxruntime",
    "onnxscript",
    "physionet",
    "pyarrow",
    "sleepecg",
    "tensorboard",
    "gradio",
}

PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LEFTOVERS = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
# The base class of the pipelines, and nothing else.
NO_LEFTOVERS = {PACKAGE / "pipelines" / "base.py"}


@dataclass(frozen=True)
class Import:
    """One imported module: `name` absolute, `names` what is taken from it."""

    file: Path
    line: int
    name: str
    names: tuple[str, ...]
    relative: bool
    lazy: bool
    typing: bool

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def part(self) -> str | None:
        """The part of the package that is imported, or None for another library."""
        parts = self.name.split(".")
        if parts[0] != PACKAGE.name:
            return None
        if len(parts) > 1:
            return parts[1]
        # `from .. import viz`
        return self.names[0] if self.names and (PACKAGE / self.names[0]).is_dir() else "__init__"

    @property
    def submodules(self) -> list[Path]:
        """Files of the package that are imported as a name."""
        folder = ROOT.joinpath(*self.name.split("."))
        files = [(folder / f"{name}.py", folder / name / "__init__.py") for name in self.names]
        return [file for pair in files for file in pair if file.is_file()]

    @property
    def targets(self) -> list[Path]:
        """The files of the package that are imported."""
        path = ROOT.joinpath(*self.name.split("."))
        file = path.with_suffix(".py")
        return self.submodules or [file if file.is_file() else path / "__init__.py"]


@cache
def sources(folder: Path) -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.py"))}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path, tree: ast.Module) -> Iterator[Import]:
    """Every import of a file, with where it stands: in a function, under `TYPE_CHECKING`, or at the top."""

    def visit(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(file, child.lineno, alias.name, (), False, lazy, typing)
            elif isinstance(child, ast.ImportFrom):
                name = child.module or ""
                if child.level:
                    package = file.relative_to(ROOT).parent.parts
                    package = package[: len(package) - child.level + 1]
                    name = ".".join([*package, *filter(None, [child.module])])
                names = tuple(alias.name for alias in child.names)
                yield Import(file, child.lineno, name, names, bool(child.level), lazy, typing)
            else:
                yield from visit(
                    child,
                    lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda),
                    typing or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)),
                )

    yield from visit(tree, False, False)


@cache
def package_imports() -> tuple[Import, ...]:
    return tuple(found for file, tree in sources(PACKAGE).items() for found in imports_of(file, tree))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name, as written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_parts_import_only_what_the_design_allows():
    wrong = [
        f"{found.place}: {part} imports {found.name}"
        for found in package_imports()
        if found.part is not None
        and (part := part_of(found.file)) != found.part
        and not (part == "__init__" and found.typing)
        and found.part not in MAY_IMPORT.get(part, set()) | GROUND
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_is_in_the_table():
    assert {part_of(file) for file in sources(PACKAGE)} <= MAY_IMPORT.keys()


def test_viz_is_imported_by_nobody_at_import_time():
    wrong = [
        found.place
        for found in package_imports()
        if found.part == "viz" and part_of(found.file) != "viz" and not (found.lazy or found.typing)
    ]
    assert not wrong


def test_an_architecture_imports_another_only_where_the_table_says_so():
    for found in package_imports():
        if part_of(found.file) != "models" or found.part != "models":
            continue
        family = found.file.relative_to(PACKAGE).parts[1]
        other = found.name.split(".")[2]
        assert other == family or other in ARCHITECTURES[family].builds_on, f"{found.place} imports {found.name}"


def test_every_architecture_has_its_folder_and_no_folder_is_without_one():
    folders = {folder.name for folder in (PACKAGE / "models").iterdir() if (folder / "__init__.py").is_file()}
    assert folders == set(ARCHITECTURES)
    for architecture in ARCHITECTURES.values():
        assert set(architecture.builds_on) <= set(ARCHITECTURES)


def assert_no_circle(imports: Iterator[Import], name_of: Callable[[Path], str]) -> None:
    graph: dict[str, set[str]] = {}
    for found in imports:
        for target in found.targets if found.part is not None and not found.typing else ():
            if name_of(target) != name_of(found.file):
                graph.setdefault(name_of(found.file), set()).add(name_of(target))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


def test_no_circle_between_files_not_even_through_functions():
    assert_no_circle(iter(package_imports()), lambda file: str(file.relative_to(ROOT)))


def test_no_circle_between_parts():
    # Inside a function the Trainer may ask the evaluation that stands on it (a probe while a run goes on).
    assert_no_circle((found for found in package_imports() if not found.lazy), part_of)


@pytest.mark.parametrize("depth", [1, 2])
def test_no_two_packages_import_each_other_not_even_through_functions(depth):
    def package(file: Path) -> str:
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        return ".".join(parts[: min(depth, max(1, len(parts) - 1))])

    arrows = {
        (package(found.file), package(target))
        for found in package_imports()
        if found.part is not None and not found.typing
        for target in found.targets
    }
    pairs = {(one, other) for one, other in arrows if one < other and (other, one) in arrows}
    # A folder inside a package is a part of it.
    assert not {pair for pair in pairs if "__init__" not in pair and not pair[1].startswith(f"{pair[0]}.")}


def test_parts_know_no_library_that_they_must_not_know():
    wrong = [
        f"{found.place}: {part} imports {found.name}"
        for found in package_imports()
        if (part := part_of(found.file)) in MUST_NOT_KNOW and found.name.split(".")[0] in MUST_NOT_KNOW[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_library_of_the_app_is_imported_there_only():
    assert {part_of(found.file) for found in package_imports() if found.name.split(".")[0] == "gradio"} == {"app"}


def test_building_blocks_know_no_trainer():
    parts = {*BLOCKS, "models", "modeling", "backbone", "configuration", "features"}
    wrong = [
        found.place
        for found in package_imports()
        if part_of(found.file) in parts
        and found.name.split(".")[0] == "transformers"
        and any("train" in name.lower() and not name.startswith("PreTrained") for name in (found.name, *found.names))
    ]
    assert not wrong


def test_heavy_libraries_are_imported_where_they_are_used():
    # A module for `evaluate` is loaded by that library, which reads its imports at the top of the file.
    modules = PACKAGE / "metrics" / "modules"
    wrong = [
        f"{found.place}: {found.name}"
        for found in package_imports()
        if found.name.split(".")[0] in LAZY and not (found.lazy or found.typing) and modules not in found.file.parents
    ]
    assert not wrong, "\n".join(wrong)


def test_viz_needs_no_torch_to_be_imported():
    wrong = [
        found.place
        for found in package_imports()
        if part_of(found.file) == "viz"
        and found.name.split(".")[0] in ("torch", "transformers")
        and not (found.lazy or found.typing)
    ]
    assert not wrong


def closure_of_checkpoints() -> set[Path]:
    """Every file that can be copied beside a checkpoint."""
    todo = [file for file in (PACKAGE / "models").rglob("*_*.py") if not file.name.startswith(("convert_", "__"))]
    closure: set[Path] = set()
    while todo:
        file = todo.pop()
        if file in closure:
            continue
        closure.add(file)
        for found in package_imports():
            if found.file == file and found.part is not None and not found.typing:
                todo += found.targets
    return closure


def test_what_is_bundled_with_a_checkpoint_imports_names_from_their_files():
    """Remote code knows flat files and `from .file import name`; it checks imports inside functions too."""
    closure = closure_of_checkpoints()
    assert {part_of(file) for file in closure} >= {"models", "layers", "features", "signals", "errors"}
    wrong = []
    for found in package_imports():
        if found.file not in closure:
            continue
        library = found.name.split(".")[0]
        if found.part is None:
            allowed = {*sys.stdlib_module_names, "numpy", "scipy", "torch", "transformers", "huggingface_hub"}
            if library not in allowed:
                wrong.append(f"{found.place}: {library} is no library of inference")
        elif found.lazy or found.typing:
            wrong.append(f"{found.place}: import of the package inside a function or for types only")
        elif not found.names or found.submodules:
            wrong.append(f"{found.place}: imports a module, not names")
        elif [target.name for target in found.targets] == ["__init__.py"]:
            wrong.append(f"{found.place}: {found.name} is a package, not the file that defines the names")
    assert not wrong, "\n".join(wrong)


def test_models_ask_for_the_model_type_not_for_the_config_class():
    """Remote code may load two copies of a configuration file: `isinstance` is False between them."""
    wrong = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file, tree in sources(PACKAGE).items()
        if part_of(file) in {"models", "modeling", "backbone", "layers", "objectives"}
        for name, call in calls(tree)
        if name == "isinstance"
        and ast.unparse(call.args[1]).endswith("Config")
        # The library's own class is one, however it was loaded.
        and ast.unparse(call.args[1]) != "PreTrainedConfig"
    ]
    assert not wrong


def test_inside_the_package_imports_are_relative():
    # A module for `evaluate` is loaded by that library as a file of its own.
    modules = PACKAGE / "metrics" / "modules"
    wrong = [
        found.place
        for found in package_imports()
        if found.part is not None and not found.relative and modules not in found.file.parents
    ]
    assert not wrong, "\n".join(wrong)


# As Transformers spells.
BRITISH = re.compile(
    r"(?:normal|initial|standard|regular|optim|summar|organ|recogn|character|synchron|general|visual|final|penal)is(?:e|ing|ation)"
    r"|colour|behaviour|neighbour|artefact|favour|labelled|modelled|\bcentre|\bgrey\b",
    re.IGNORECASE,
)


def test_spelling_is_american():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "hub_cards").glob("*/card.md")]
    files = [*sources(PACKAGE), *sources(ROOT / "training"), *(ROOT / "training").rglob("*.yaml"), *pages]
    wrong = [
        f"{file.relative_to(ROOT)}: {found.group()}"
        for file in files
        for found in BRITISH.finditer(file.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def test_one_dialect():
    wrong = []
    for folder in (PACKAGE, ROOT / "training", ROOT / "tests", ROOT / "benchmarks"):
        for file, tree in sources(folder).items():
            wrong += [f"{found.place}: {found.name}" for found in imports_of(file, tree) if found.name == "__future__"]
            # Three backticks are a block of Markdown.
            if re.search(r"(?<!`)`{2}(?!`)", file.read_text(encoding="utf-8")):
                wrong.append(f"{file.relative_to(ROOT)}: double backticks")
    assert not wrong, "\n".join(wrong)


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a function without its docstring, comments and blank lines."""
    first = function.body[0]
    documented = range(first.lineno, (first.end_lineno or 0) + 1) if ast.get_docstring(function) else ()
    numbers = set(range(function.lineno, (function.end_lineno or 0) + 1)) - set(documented)
    return sum(not lines[number - 1].strip().startswith("#") and bool(lines[number - 1].strip()) for number in numbers)


def test_functions_fit_on_a_screen():
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.name} has {count} lines of code"
        for file, tree in sources(PACKAGE).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := code_lines(node, file.read_text(encoding="utf-8").splitlines())) >= 60
    ]
    assert not wrong, "\n".join(wrong)


# Fixtures that record, and where a test finds what they recorded.
RECORDED = {
    "caplog": {"messages", "records", "record_tuples", "text"},
    "capsys": {"readouterr"},
    "capfd": {"readouterr"},
}


def _reads(node: ast.AST, fixture: str) -> bool:
    """Whether an expression looks at what a fixture recorded, or gives the fixture to a function."""
    if isinstance(node, ast.Call):
        return any(isinstance(one, ast.Name) and one.id == fixture for one in node.args)
    of_fixture = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == fixture
    return of_fixture and node.attr in RECORDED[fixture]


def test_fixtures_that_record_are_read():
    """A test that takes `caplog` or `capsys` and never looks at it proves nothing about messages."""
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.name} takes {argument.arg}"
        for file, tree in sources(ROOT / "tests").items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for argument in node.args.args
        if argument.arg in RECORDED and not any(_reads(one, argument.arg) for one in ast.walk(node))
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_imported_from_a_script():
    scripts = {file.stem for folder in ("training", "benchmarks") for file in (ROOT / folder).glob("*.py")}
    known = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    # The folder of a script is first on the import path: its name must hide no library.
    assert not scripts & known
    outside = [
        found
        for folder in ("training", "benchmarks")
        for file, tree in sources(ROOT / folder).items()
        for found in imports_of(file, tree)
    ]
    wrong = [
        found.place
        for found in (*package_imports(), *outside)
        if found.name.split(".")[0] in {*scripts, "training", "benchmarks", "tests"}
        or (found.relative and not found.part)
    ]
    assert not wrong


def test_no_file_collects_leftovers():
    wrong = [
        str(path.relative_to(ROOT))
        for folder in (PACKAGE, ROOT / "training", ROOT / "tests", ROOT / "benchmarks")
        for path in folder.rglob("*")
        if (path.suffix == ".py" or path.is_dir()) and path.stem in LEFTOVERS and path not in NO_LEFTOVERS
    ]
    assert not wrong


def test_no_pickle_no_evaluated_text_no_shell():
    wrong = []
    for folder in (PACKAGE, ROOT / "training", ROOT / "benchmarks"):
        for file, tree in sources(folder).items():
            place = str(file.relative_to(ROOT))
            for found in imports_of(file, tree):
                if found.name.split(".")[0] in PICKLES:
                    wrong.append(f"{found.place}: {found.name}")
            for name, call in calls(tree):
                keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
                last = name.split(".")[-1]
                if (
                    name
                    in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.save", "yaml.load")
                    or (name == "torch.load" and keywords.get("weights_only") != "True")
                    or keywords.get("shell") == "True"
                    or keywords.get("allow_pickle") == "True"
                    or last in ("extractall", "read_pickle", "to_pickle", "register_for_auto_class")
                ):
                    wrong.append(f"{place}:{call.lineno}: {name}")
    assert not wrong, "\n".join(wrong)


def test_the_package_does_not_print():
    # The command line program is a program: what it prints is its result.
    wrong = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for file, tree in sources(PACKAGE).items()
        if file != PACKAGE / "cli.py"
        for name, call in calls(tree)
        if name == "print"
    ]
    assert not wrong
