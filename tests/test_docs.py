"""README and docs/ are promises: blocks run as printed, links resolve, scores come from results.json."""

import ast
import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ecg_transformers
from ecg_transformers import exporting, pipelines, publishing, trainer, viz
from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.corpora import CORPORA
from ecg_transformers.evaluation.results.entries import mode_title
from ecg_transformers.trainer.arguments import EcgTrainingArguments

from . import fresh

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *sorted((REPOSITORY / "hub").rglob("README.md")),
    REPOSITORY / "training" / "runs.md",
    REPOSITORY / "benchmarks" / "README.md",
]
# Every script that trains or evaluates takes them; help may leave them to the library's own page.
TRAINING_FIELDS = {field.name for field in dataclasses.fields(EcgTrainingArguments)}
# Help lists those of an architecture with its CONFIG only.
CONFIG_FIELDS = {name for row in ARCHITECTURES.values() for name in row.config.__dataclass_fields__}
SCRIPTS = ["prepare", "pretrain", "finetune", "score", "benchmark", "publish", "demo"]


def read(*pages: Path) -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


def blocks(language: str, *pages: Path) -> list[str]:
    return re.findall(rf"^```(?:{language})\n(.*?)^```", read(*(pages or [README])), flags=re.DOTALL | re.MULTILINE)


def test_python_blocks_run_in_order_as_printed(tmp_path):
    code = "\n".join(blocks("python")).replace('"runs/', f'"{tmp_path}/')
    finished = fresh.run([sys.executable, "-W", "ignore", "-c", code], cwd=REPOSITORY)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "100 Hz" in finished.stdout
    # The comment below the snippet is what it prints.
    assert "AFIB: atrial fibrillation, 0.98" in finished.stdout
    for name in ("embeddings.parquet", "recording.png", "labels.csv"):
        assert (tmp_path / name).exists()


def site_pages(section: list | dict | str) -> list[str]:
    """The pages of a section of the navigation, in their order."""
    parts = section.values() if isinstance(section, dict) else section if isinstance(section, list) else None
    return [section] if parts is None else [page for part in parts for page in site_pages(part)]


NAVIGATION = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
HOW_TO = next(site_pages(part) for part in NAVIGATION if "How to" in part)


@pytest.mark.timeout(600)
def test_blocks_of_how_to_pages_run_in_order_as_printed(tmp_path):
    for name in ("hub", "hub_cards", "tests", "training"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    (tmp_path / "runs").mkdir()
    pages = [REPOSITORY / "docs" / page for page in ("index.md", "windows.md", "leads.md", *HOW_TO)]
    finished = fresh.run(
        [sys.executable, "-W", "ignore", REPOSITORY / "tests" / "run_pages.py", *pages],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TRANSFORMERS_VERBOSITY": "error"},
        timeout=580,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    # A comment beside print(...) is what it prints, up to a colon or three dots.
    shown = [
        re.split(r": |\.\.\.", text)[0] for text in re.findall(r"^print\(.*\)  +# (.+)$", read(*pages), re.MULTILINE)
    ]
    assert len(shown) > 10
    for text in shown:
        assert text in finished.stdout, text


def test_the_navigation_has_every_page():
    sources = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    made = {"results.md", "runs.md", "contributing.md", "changelog.md", "systems/index.md"}
    made |= {f"examples/{path.stem}.md" for path in REPOSITORY.glob("examples/*.ipynb")}
    made |= {f"checkpoints/{path.parent.name}.md" for path in REPOSITORY.glob("hub/*/README.md")}
    assert sorted(site_pages(NAVIGATION)) == sorted(sources | made)


def test_every_public_name_is_in_the_api():
    modules = set(re.findall(r"^::: (\S+)$", read(*(REPOSITORY / "docs" / "api").glob("*.md")), re.MULTILINE))
    families = tuple(f"ecg_transformers.models.{name}." for name in ARCHITECTURES)  # on the pages of the systems
    for package in (ecg_transformers, exporting, pipelines, publishing, trainer, viz):
        for name in package.__all__:
            found = getattr(package, name)
            if name not in ("__version__", "register"):
                assert found.__module__ in modules or found.__module__.startswith(families), found
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_the_results_page_says_what_the_results_say(tmp_path):
    sys.path.insert(0, str(REPOSITORY / "docs"))
    try:
        from results_page import read_all_results, results_figures, results_page
    finally:
        sys.path.pop(0)
    entries = read_all_results(REPOSITORY / "hub_cards")
    page = results_page(entries)
    for entry in entries:
        noise, points = entry.get("noise_level"), entry.get("min_positives", 1)
        if entry["initialization"] != "random" and not noise and points == 1 and len(entry["train_folds"]) == 8:
            row = f"| `{entry['checkpoint']}` | {mode_title(entry['mode'])}, {entry['train_records']:,} recordings"
            score = "**{value:.3f}** ({low:.3f}-{high:.3f})".format(**entry)
            assert any(line.count(row) and score in line for line in page.splitlines()), (row, score)
    # Another number in a file is another number on the page, and the plots are of the same entries.
    one = next(
        entry for entry in entries if entry["mode"] == "linear_probe" and entry["initialization"] == "pretrained"
    )
    changed = [{**entry, "value": 0.123} if entry is one else entry for entry in entries]
    assert "**0.123**" in results_page(changed)
    assert "**0.123**" not in page
    assert set(re.findall(r"\]\((\w+\.svg)\)", page)) == set(results_figures(entries))
    # A card's copy of another system's result counts once, and less than that system's own.
    for name, value in (("a", 0.5), ("b", 0.6)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps([{**one, "checkpoint": "b", "value": value}]))
    assert [entry["value"] for entry in read_all_results(tmp_path)] == [0.6]


@pytest.mark.parametrize("page", [README, REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))])
def test_every_python_block_imports_what_it_uses(page):
    trees = [ast.parse(code) for code in [*blocks("python", page), *blocks("py", page)]]
    imported = [
        {alias.asname or alias.name.partition(".")[0] for node in ast.walk(tree) for alias in getattr(node, "names", ())
         if isinstance(node, ast.Import | ast.ImportFrom)}
        for tree in trees
    ]  # fmt: skip
    known = set().union(*imported, {"pipeline", "ecg_transformers"})
    for tree, own in zip(trees, imported, strict=True):
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert used & known <= own, ast.unparse(tree)


def test_accelerate_says_nothing_of_its_own_where_the_readme_is_followed():
    settings = dict(re.findall(r"^export (\w+)=(\S+)", "\n".join(blocks("sh")), flags=re.MULTILINE))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    accelerate = Path(sys.executable).with_name("accelerate")
    finished = fresh.run(
        [sys.executable, accelerate, "launch", REPOSITORY / "training" / "pretrain.py", "--help"],
        env={**environment, "HF_HOME": "/nowhere", **settings},
    )
    assert "accelerate launch training/pretrain.py CONFIG.yaml" in finished.stdout
    assert "defaults" not in finished.stderr
    assert "launch" not in finished.stderr


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("hub*/*/*.md")), ids=lambda page: page.parent.name)
def test_cards_show_what_keeps_accelerate_quiet(page):
    for block in blocks("sh", page):
        before, launch, _ = block.partition("accelerate launch")
        assert not launch or "export ACCELERATE_LOG_LEVEL=error" in before


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_of_the_pages_exist_and_explain_themselves(script):
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", REPOSITORY / "training" / f"{script}.py", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    commands = "\n".join(blocks("sh|console", *PAGES))
    for command in re.findall(rf"training/{script}\.py (.*?)(?:\n(?!    )|$)", commands, re.DOTALL):
        for option in re.findall(r"--([a-z0-9_-]+)", command):
            assert option in finished.stdout or option in TRAINING_FIELDS | CONFIG_FIELDS, option
        for config in re.findall(r"training/configs/\S+", command):
            assert (REPOSITORY / config).is_file(), config


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_and_named_files_resolve(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).exists(), target
    for name in re.findall(r"`((?:ecg_transformers|training|tests|docs|hub|hub_cards)/[\w/.-]+)`", text):
        assert (REPOSITORY / name).exists(), name


def test_every_architecture_has_its_page_its_row_and_every_corpus_its_row():
    readme, corpora = (
        README.read_text(encoding="utf-8"),
        (REPOSITORY / "docs" / "corpora.md").read_text(encoding="utf-8"),
    )
    for model_type in ARCHITECTURES:
        page = REPOSITORY / "docs" / "systems" / f"{model_type}.md"
        assert page.is_file(), f"docs/systems/{model_type}.md is missing"
        assert f"| [`{model_type}`](docs/systems/{model_type}.md) |" in readme, f"README has no row of {model_type}"
        headings = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert headings[0] == "Signal", f"{page.name} says first what goes in"
        assert "Sources: " in page.read_text(encoding="utf-8")
    for name in CORPORA:
        assert f"`{name}`" in corpora, f"docs/corpora.md has no row of {name}"


def test_pages_do_not_cite_what_readers_do_not_have():
    for page in PAGES:
        assert not re.search(r"DESIGN|specification.{0,20} section|specs/", page.read_text(encoding="utf-8")), page


def test_files_for_tools_are_valid_and_name_one_command():
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["steps"][-1]["run"] == ".ci/run"
    commands = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert {"make demo", "make test", "make docs"} <= set(commands)
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert hooks["repos"][0]["hooks"][0]["entry"] == "make lint"
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_version_is_stated_once():
    assert "version = attr: ecg_transformers.__version__" in (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    # Read from the text, without importing the package (a build has none of its requirements).
    source = (REPOSITORY / "ecg_transformers" / "__init__.py").read_text(encoding="utf-8")
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"$', source, flags=re.MULTILINE)


@pytest.mark.parametrize("labels", ["all", "superclass"])
def test_scores_of_the_readme_are_those_of_the_results(labels):
    entries = json.loads((REPOSITORY / "hub_cards" / "mae-moco-ecg" / "results.json").read_text(encoding="utf-8"))
    pretrained, random = (
        next(
            entry
            for entry in entries
            if (entry["mode"], entry["labels"], entry["initialization"], entry["min_positives"])
            == ("linear_probe", labels, initialization, 1)
        )
        for initialization in ("pretrained", "random")
    )
    score = "{value:.3f} ({low:.3f}-{high:.3f})".format(**pretrained)
    assert f"{score}, random weights {random['value']:.3f}" in README.read_text(encoding="utf-8")


def test_the_supervised_score_of_the_readme_is_that_of_the_results():
    entries = json.loads((REPOSITORY / "hub_cards" / "xresnet1d50-ecg" / "results.json").read_text(encoding="utf-8"))
    entry = next(
        entry
        for entry in entries
        if (entry["checkpoint"], entry["mode"], entry["labels"], len(entry["train_folds"]), entry["min_positives"])
        == ("xresnet1d50-ecg", "from_scratch", "all", 8, 1)
        and not entry.get("noise_level")
    )
    words = "supervised: all 71 statements {value:.3f} ({low:.3f}-{high:.3f})".format(**entry)
    assert words in README.read_text(encoding="utf-8")
