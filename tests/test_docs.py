"""The README is a promise: its snippets run as printed, and its figures come from results.json."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_python_blocks_run_in_order_as_printed(tmp_path):
    code = "\n".join(blocks("python")).replace('"runs/', f'"{tmp_path}/')
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "100 Hz" in finished.stdout
    # The comment behind the snippet is what it prints.
    assert "AFIB: atrial fibrillation, 0.98" in finished.stdout
    assert (tmp_path / "embeddings.parquet").is_file()


@pytest.mark.parametrize("script", ["prepare", "pretrain", "finetune", "score", "benchmark", "publish", "demo"])
def test_commands_of_the_readme_exist_and_explain_themselves(script):
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", REPOSITORY / "training" / f"{script}.py", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    for command in re.findall(rf"training/{script}\.py (.*?)(?:\n(?!    )|$)", "\n".join(blocks("sh")), re.DOTALL):
        for option in re.findall(r"(--[a-z_]+)", command):
            assert option.removeprefix("--") in finished.stdout, option


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target


@pytest.mark.parametrize("labels", ["all", "superclass"])
def test_figures_of_the_readme_are_those_of_the_results(labels):
    entries = json.loads((REPOSITORY / "hub_cards" / "mae-moco-ecg" / "results.json").read_text(encoding="utf-8"))
    pretrained, random = (
        next(
            entry
            for entry in entries
            if (entry["mode"], entry["labels"], entry["initialisation"], entry["min_positives"])
            == ("linear_probe", labels, initialization, 1)
        )
        for initialization in ("pretrained", "random")
    )
    figures = "{value:.3f} ({low:.3f}-{high:.3f})".format(**pretrained)
    assert f"{figures}, random weights {random['value']:.3f}" in README.read_text(encoding="utf-8")


def test_the_supervised_figure_of_the_readme_is_that_of_the_results():
    entries = json.loads((REPOSITORY / "hub_cards" / "xresnet1d50-ecg" / "results.json").read_text(encoding="utf-8"))
    figure = next(
        entry
        for entry in entries
        if (entry["checkpoint"], entry["mode"], entry["labels"], len(entry["train_folds"]), entry["min_positives"])
        == ("xresnet1d50-ecg", "from_scratch", "all", 8, 1)
        and not entry.get("noise_level")
    )
    words = "supervised: all 71 statements {value:.3f} ({low:.3f}-{high:.3f})".format(**figure)
    assert words in README.read_text(encoding="utf-8")
