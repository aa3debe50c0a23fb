"""The notebooks are committed as they ran, and run."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def outputs(notebook) -> list:
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def printed(notebook) -> str:
    return "".join("".join(output.get("text", "")) for output in outputs(notebook))


def last_score(text: str, name: str) -> float:
    """The number after a name at the start of a line; of the last such line."""
    return float(re.findall(rf"^{name} +([\d.]+)", text, re.MULTILINE)[-1])


def check_findings(text: str) -> None:
    assert "EcgRecord(00152_lr, 12 leads, 10.0 s at 100 Hz, mV)" in text
    assert last_score(text, " AFIB +atrial fibrillation") > 0.9
    assert "sampling_rate is missing" in text


def check_few_labels(text: str) -> None:
    # Twenty labels: the encoder that was pretrained on real recordings is far ahead; eighty are enough for each.
    rows = re.findall(r"^(fine_tune|from_scratch|linear_probe) +([\d.]+) +([\d.]+)$", text, re.MULTILINE)
    few, more = ({row[0]: float(row[column]) for row in rows} for column in (1, 2))
    assert min(few["fine_tune"], few["linear_probe"]) > few["from_scratch"] + 0.1
    assert min(more.values()) > 0.9


def check_pretraining(text: str) -> None:
    scores = {name: last_score(text, name) for name in ("random weights", "scratch", "shipped", "continued")}
    assert min(scores["shipped"], scores["continued"]) > max(scores["random weights"], scores["scratch"])
    assert scores["random weights"] > 0.6


CHECKS = {
    "few_labels": check_few_labels,
    "from_file_to_findings": check_findings,
    "pretrain_on_your_own_recordings": check_pretraining,
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_as_they_ran(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 300_000
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [
        output for output in outputs(notebook) if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert not re.search(r"/(home|root|work|tmp|Users)/", path.read_text(encoding="utf-8")), "a path of one machine"
    CHECKS[path.stem](printed(notebook))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path):
    spec = importlib.util.spec_from_file_location("execute", EXAMPLES / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    notebook = module.execute(path)
    CHECKS[path.stem](printed(notebook))


def test_every_notebook_is_checked():
    assert sorted(CHECKS) == [path.stem for path in NOTEBOOKS]
