"""The flat copy of the source: what is followed, how imports are rewritten, what is refused."""

import ast
import textwrap

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.bundle import bundle, check_flat_source


@pytest.fixture
def tree(tmp_path):
    """A function that writes a small package from {path: text} and gives its folder."""

    def write(files):
        root = tmp_path / "ecg_transformers"
        for path, text in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (target.parent / "__init__.py").touch()
            target.write_text(textwrap.dedent(text), encoding="utf-8")
        return root

    return write


MODEL = "models/toy/modeling_toy.py"


def test_relative_and_absolute_imports_become_flat_names(tree):
    root = tree(
        {
            MODEL: """
                import torch
                from ...layers.patches import patchify, unpatchify as unfold
                from ecg_transformers.errors import EcgError
                from .configuration_toy import ToyConfig

                x = torch.nn.Linear
                """,
            "models/toy/configuration_toy.py": "from ...configuration import EcgConfig\nToyConfig = EcgConfig\n",
            "configuration.py": "class EcgConfig: pass\n",
            "layers/patches.py": "from ..errors import EcgError\npatchify = unpatchify = EcgError\n",
            "errors.py": "class EcgError(ValueError): pass\n",
            "layers/unused.py": "import wfdb\n",
        }
    )
    result = bundle(["ecg_transformers.models.toy.modeling_toy"], root=root)
    assert list(result.files) == [
        "configuration.py",
        "configuration_toy.py",
        "errors.py",
        "layers_patches.py",
        "modeling_toy.py",
    ]
    model = result.files["modeling_toy.py"]
    assert "from .layers_patches import patchify, unpatchify as unfold\n" in model
    assert "from .errors import EcgError\n" in model
    assert "from .configuration_toy import ToyConfig\n" in model
    assert "import torch\n" in model
    assert "from .configuration import EcgConfig" in result.files["configuration_toy.py"]
    assert result.reference("ecg_transformers.models.toy.modeling_toy", "ToyModel") == "modeling_toy.ToyModel"
    assert result.files == bundle(["ecg_transformers.models.toy.modeling_toy"], root=root).files


def test_the_flat_copy_runs_without_the_package(tree, tmp_path, monkeypatch):
    root = tree(
        {
            MODEL: """
                \"\"\"Ünïcode before an import: columns are counted in bytes.\"\"\"
                from ...layers.patches import (  # why: a comment inside
                    double,
                    triple as thrice,
                )
                µ = "µV"; from ...layers.other import ONE
                value = double(ONE) + thrice(ONE)
                """,
            "layers/patches.py": "def double(x): return 2 * x\ndef triple(x): return 3 * x\n",
            "layers/other.py": "from .patches import double\nONE = 1\n",
        }
    )
    result = bundle(["ecg_transformers.models.toy.modeling_toy"], root=root)
    flat = tmp_path / "flat_copy"
    flat.mkdir()
    (flat / "__init__.py").touch()
    for name, text in result.files.items():
        (flat / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from flat_copy.modeling_toy import value, µ

    assert value == 5
    assert µ == "µV"


def test_a_long_import_is_wrapped_and_stays_valid(tree):
    names = [f"a_rather_long_name_{number}" for number in range(12)]
    root = tree(
        {
            MODEL: f"if True:\n    from ...layers.patches import {', '.join(names)}\n",
            "layers/patches.py": "\n".join(f"{name} = 1" for name in names),
        }
    )
    text = bundle(["ecg_transformers.models.toy.modeling_toy"], root=root).files["modeling_toy.py"]
    assert max(map(len, text.splitlines())) <= 120
    statement = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom))
    assert [alias.name for alias in statement.names] == names


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("from ...corpora.ptbxl import PTBXL", "corpora"),
        ("from ...trainer.trainer import EcgTrainer", "training"),
        ("from ...signals.wfdb.read import read_wfdb", "reading files"),
        ("from ...objectives.infonce import infonce", "objectives"),
        ("from ...layers import patches", "is no file"),
        ("from ... import errors", "is no file"),
        ("from ecg_transformers import errors", "is no file"),
        ("import ecg_transformers.errors", "as a module"),
        ("import ecg_transformers", "as a module"),
        ("from ....other import x", "outside the package"),
        ("from ...errors import *", "imports \\*"),
        ("def f():\n    from ...errors import EcgError", "inside a function"),
        ("import wfdb", "wfdb"),
        ("def f():\n    import datasets", "datasets"),
        ("from matplotlib import pyplot", "matplotlib"),
        ("import evaluate", "evaluate"),
        ("import pickle", "pickle"),
        ("from transformers import Trainer", "training"),
        ("from transformers.trainer_utils import set_seed", "training"),
        ("import importlib\nimportlib.import_module('ecg_transformers')", "import_module"),
        ('"""Docstring.\n\nfrom .nowhere import thing\n"""', "nowhere"),
    ],
)
def test_what_inference_does_not_need_is_refused(tree, statement, reason):
    root = tree(
        {
            MODEL: statement + "\n",
            "corpora/ptbxl.py": "PTBXL = 1",
            "trainer/trainer.py": "EcgTrainer = 1",
            "signals/wfdb/read.py": "read_wfdb = 1",
            "objectives/infonce.py": "infonce = 1",
            "layers/patches.py": "",
            "errors.py": "class EcgError(ValueError): pass",
        }
    )
    with pytest.raises(CheckpointError, match=reason) as caught:
        bundle(["ecg_transformers.models.toy.modeling_toy"], root=root)
    assert "modeling_toy.py" in str(caught.value)


def test_objectives_are_bundled_with_the_state_of_pretraining(tree):
    root = tree(
        {
            "models/toy/pretraining_toy.py": "from ...objectives.infonce import infonce\n",
            "objectives/infonce.py": "infonce = 1\n",
        }
    )
    files = bundle(["ecg_transformers.models.toy.pretraining_toy"], root=root, with_pretraining=True).files
    assert list(files) == ["objectives_infonce.py", "pretraining_toy.py"]


def test_two_modules_of_one_flat_name_are_refused(tree):
    root = tree(
        {
            MODEL: "from ...layers.patches import a\nfrom ...layers_patches import b\n",
            "layers/patches.py": "a = 1",
            "layers_patches.py": "b = 1",
        }
    )
    with pytest.raises(CheckpointError, match="both be written as layers_patches"):
        bundle(["ecg_transformers.models.toy.modeling_toy"], root=root)


def test_an_entry_without_a_file_is_refused(tree):
    root = tree({MODEL: ""})
    with pytest.raises(CheckpointError, match=r"models\.toy\.modeling_other"):
        bundle(["ecg_transformers.models.toy.modeling_other"], root=root)


def test_a_flat_file_that_reaches_outside_its_folder_is_refused():
    check_flat_source("a.py", "from .b import c\nimport torch\n", ["a.py", "b.py"])
    for text in (
        "from ..b import c",
        "from . import b",
        "from .b.c import d",
        "def broken(:",
        "from .missing import x",
    ):
        with pytest.raises(CheckpointError, match=r"a\.py"):
            check_flat_source("a.py", text, ["a.py", "b.py"])
