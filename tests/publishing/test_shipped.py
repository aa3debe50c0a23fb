"""The checkpoints in `hub/`: complete, without code; published, they open by remote code alone; sizes; sources."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import yaml

from ecg_transformers.commands.benchmark_plan import as_options
from ecg_transformers.commands.downstream import FineTuneArguments, read_arguments
from ecg_transformers.commands.score_beats import read_beat_arguments
from ecg_transformers.corpora.evaluation_split import Protocol
from ecg_transformers.evaluation.beats.report import MODE as BEATS
from ecg_transformers.evaluation.modes import MODES
from ecg_transformers.evaluation.outcomes import recorded
from ecg_transformers.evaluation.results.together import MEAN_OF_LOGITS
from ecg_transformers.evaluation.settings import (
    REPLACED_BY_ONE_CYCLE,
    TRAINING_DEFAULTS,
    LearningSettings,
    ReportSettings,
)
from ecg_transformers.publishing import publish, verify
from ecg_transformers.publishing.card.results import load_results
from ecg_transformers.publishing.inspection import inspect_checkpoint

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for path in (ROOT / "hub").glob("*") if path.is_dir())
MIB = 2**20


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def folder(request):
    return request.param


def test_a_shipped_checkpoint_is_complete_and_its_card_has_the_scores_of_its_results(folder):
    results = load_results(ROOT / "hub_cards" / folder.name / "results.json")
    # A baseline: random weights, or for beats what needs no network.
    assert any(entry["initialization"] in ("random", "none") for entry in results)
    assert verify(folder, results=results).golden.passed
    assert inspect_checkpoint(folder).golden.passed


def test_it_holds_no_generated_code(folder):
    assert not list(folder.rglob("*.py"))
    for name in ("config.json", "preprocessor_config.json"):
        assert "auto_map" not in (folder / name).read_text(encoding="utf-8")


def test_published_it_opens_by_remote_code_alone(folder, tmp_path):
    done = publish(folder, output_dir=tmp_path / folder.name)
    assert done.verification.golden.passed
    assert {"AutoConfig", "AutoFeatureExtractor", "AutoModel"} <= set(done.verification.opened)
    assert all(module.startswith("transformers_modules.") for module in done.verification.opened.values())
    for name in ("model.safetensors", "golden.safetensors"):
        assert (done.folder / name).read_bytes() == (folder / name).read_bytes(), name


def test_scores_of_its_card_are_given_once_and_rounded(folder):
    results = load_results(ROOT / "hub_cards" / folder.name / "results.json")
    card = (folder / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^ +name: (?:macro|mean) AUROC", card, flags=re.MULTILINE)
    assert len(names) == card.count("- type: roc_auc")
    assert not [entry for entry in results if str(entry["value"]) in card and len(str(entry["value"])) > 8]
    rows = [line for line in card.splitlines() if line.startswith("| ")][2:]
    assert 0 < len(rows) <= 10


def test_hashes_of_its_card_are_those_of_its_files(folder):
    listed = re.findall(r"^- `([\w.]+)`: `([0-9a-f]{64})`$", (folder / "README.md").read_text(), flags=re.MULTILINE)
    assert {name for name, _ in listed} >= {"config.json", "preprocessor_config.json", "model.safetensors"}
    for name, value in listed:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == value, name


def test_what_was_filled_in_by_hand_is_marked(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    run = ROOT / "hub_cards" / folder.name / "run.json"  # a fine-tuned checkpoint has none: its entries hold the facts
    results = load_results(ROOT / "hub_cards" / folder.name / "results.json")
    for entry in ([json.loads(run.read_text(encoding="utf-8"))] if run.exists() else []) + results:
        # A command records the whole hash; a short one was typed.
        typed = len(str(entry["commit"]).partition("+")[0]) < 40
        assert bool(entry.get("provenance")) or not typed
        assert str(entry.get("provenance", "")) in card


def test_the_sizes_stay_within_bounds():
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in SHIPPED]
    assert all(size < 30 * MIB for size in sizes)
    assert sum(sizes) < 100 * MIB


@pytest.mark.parametrize("file", sorted((ROOT / "hub_cards").glob("*/results.json")), ids=lambda file: file.parent.name)
def test_every_row_can_be_repeated_from_itself(file):
    """It holds every setting of its mode, those of the row itself with the same values, and a command takes them."""
    for row in load_results(file):
        settings = row["settings"]
        assert {name: settings[name] for name in settings.keys() & row.keys()} == {
            name: row[name] for name in settings.keys() & row.keys()
        }
        if row["mode"] == BEATS:
            scoring = {name: value for name, value in settings.items() if name != "mode"}
            again = read_beat_arguments(["--corpus", "x", "--model", row["checkpoint"], *as_options(scoring)])
            assert recorded(again) == scoring
            assert row["split"] in scoring["splits"]
            continue
        if row["mode"] == MEAN_OF_LOGITS.name:
            plan = yaml.safe_load((ROOT / row["config"]).read_text(encoding="utf-8"))
            systems = tuple(f"{system['name']}, " for system in plan["systems"])
            assert all(member.startswith(systems) for member in settings["together"])
            continue
        mode = MODES[row["mode"]]
        learning = LearningSettings(balanced=False).with_values(settings)
        needed = {*recorded(Protocol()), *recorded(ReportSettings()), *recorded(learning, mode), "bf16"}
        needed |= {"mode", "train_folds", "evaluate_folds", "window_seconds", "window_stride_seconds", "pooling"}
        if mode.trains:
            replaced = REPLACED_BY_ONE_CYCLE if settings["one_cycle"] else ()
            needed |= TRAINING_DEFAULTS.keys() - {"logging_steps", "save_total_limit", *replaced}
        assert needed <= settings.keys()
        start = [] if "model_type" in settings else ["--model", row["checkpoint"]]
        again = read_arguments([*start, "--output_dir", "out", *as_options(settings)], FineTuneArguments)
        assert recorded(again.learning, mode).items() <= settings.items()
