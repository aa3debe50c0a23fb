"""The rendered card: complete, its figures those of results.json, its prose the template's."""

import dataclasses
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from ecg_transformers.commands.command_line import field_types
from ecg_transformers.commands.options import FineTuneArguments, ScoreArguments
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.card import DEFAULT_TEMPLATE, check_card, render_card
from ecg_transformers.publishing.card.facts import CardFacts, PublishedFile
from ecg_transformers.trainer.arguments import EcgTrainingArguments


@pytest.fixture
def facts(results):
    return CardFacts(
        name="tiny",
        checkpoint="hub/tiny",
        kind="encoder",
        architecture="MaeMocoModel",
        parameters=1_234_567,
        lead_names=["I", "II"],
        sampling_rate=100,
        window_size=1000,
        embedding_size=32,
        contract="1. leads I, II",
        contract_hash="abc",
        intended_use="Research only.",
        license="apache-2.0",
        golden="00001_hr, 12 leads, 500 Hz",
        files=[PublishedFile("config.json", 1234, "0f" * 32)],
        results=results,
    )


TEMPLATE = """---
license: cc-by-4.0
tags: [mae]
datasets: [ptb-xl]
corpora:
  - {name: ptbxl, title: PTB-XL, version: 1.0.3, license: CC BY 4.0, homepage: "https://physionet.org/content/ptb-xl/",
     citation: "Wagner et al. 2020.", use: "pretraining, folds 1-8"}
weights_license: CC BY 4.0
commercial_use: Allowed with attribution.
citation: Ours.
---
# {{name}}

Prose of the author.

{{ usage }} {{contract}} {{intended_use}} {{licenses}} {{training}} {{results}} {{files}} {{citation}}
"""


def test_the_default_card_is_complete_and_its_figures_are_those_of_the_results(facts, results):
    text = render_card(facts)
    check_card(text, results)
    card = ModelCard(text)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "feature-extraction"
    assert "ecg" in card.data.tags
    assert card.data.model_name == "tiny"
    assert [one.metric_value for one in card.data.eval_results] == [0.871234, 0.9, 0.8]
    for part in (
        "## Intended use",
        "**Not for** diagnosis",
        "1. leads I, II",
        "0f0f",
        "Hash of the contract: `abc`",
        "1.23",
    ):
        assert part in text
    assert "17,418 records" in text
    assert "`training/configs/mae_moco_ptbxl.yaml`" in text


def test_the_template_brings_prose_licenses_and_metadata(facts):
    text = render_card(facts, TEMPLATE)
    data = ModelCard(text).data
    assert data.license == "cc-by-4.0"
    assert data.datasets == ["ptb-xl"]
    assert data.tags == ["ecg", "mae"]
    assert not hasattr(data, "corpora")
    assert "Prose of the author." in text
    assert "- Code: Apache-2.0." in text
    assert "- Weights: CC BY 4.0." in text
    assert "[PTB-XL](https://physionet.org/content/ptb-xl/) 1.0.3, CC BY 4.0 (pretraining, folds 1-8)." in text
    assert "- Commercial use: Allowed with attribution." in text
    assert "Wagner et al. 2020." in text


def test_a_classifier_lists_its_labels_by_code_and_name(facts):
    text = render_card(dataclasses.replace(facts, kind="classifier", labels=[("NORM", "normal"), ("MI", "infarction")]))
    assert "NORM (normal), MI (infarction)" in text
    assert ModelCard(text).data.pipeline_tag == "audio-classification"
    assert 'AutoModelForSequenceClassification.from_pretrained("hub/tiny")' in text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (TEMPLATE.replace("{{results}}", "AUROC 0.99"), r"lacks \{\{results\}\}"),
        (TEMPLATE.replace("Prose", "{{prose}}"), "unknown placeholders prose"),
        (TEMPLATE.partition("---\n#")[2], "YAML head"),
        (TEMPLATE.replace("tags: [mae]", "tags: [mae"), "cannot be read"),
        ("---\n- a\n---\n", "not a table"),
    ],
)
def test_a_template_that_would_make_an_incomplete_card_is_refused(facts, template, reason):
    with pytest.raises(CheckpointError, match=reason):
        render_card(facts, template)


def test_a_card_whose_figures_were_edited_is_refused(facts, results):
    text = render_card(facts)
    with pytest.raises(CheckpointError, match="model-index"):
        check_card(text.replace("0.871234", "0.971234"), results)
    with pytest.raises(CheckpointError, match="license"):
        check_card(text.replace("license: apache-2.0\n", ""), results)
    with pytest.raises(CheckpointError, match="placeholder"):
        check_card(text + "{{results}}", results)


ROOT = Path(__file__).parents[2]
CARDS = sorted(path for path in (ROOT / "hub_cards").iterdir() if (path / "card.md").is_file())


@pytest.fixture
def supervised(facts, results):
    """A classifier that was trained from new weights, and a pretrained system beside it."""
    own = results[0] | {
        "mode": "from_scratch", "initialisation": "random", "difference": None, "train_records": 17_084,
        "selection": "nothing is chosen (last epoch); thresholds on folds 9, which are reported", "seconds": 1800.0,
        "chosen": {"epoch": 50.0}, "hardware": "1 x 1 CPU threads", "config": "training/configs/net.yaml",
        "pretraining": {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0},
    }  # fmt: skip
    beside = results[2] | {"checkpoint": "mae"}
    return dataclasses.replace(
        facts,
        kind="classifier",
        labels=[("NORM", "normal"), ("MI", "infarction")],
        has_thresholds=True,
        results=[own, beside, own | {"train_folds": [1], "value": 0.7}, beside | {"train_folds": [1], "value": 0.8}],
    )


def test_a_supervised_card_says_how_it_was_trained_and_nothing_of_pretraining(supervised):
    text = render_card(supervised)
    check_card(text, supervised.results)
    assert [one.metric_value for one in ModelCard(text).data.eval_results] == [0.871234]
    training = text.partition("## Training")[2].partition("## ")[0]
    assert training.strip() == (
        "- Supervised, from new weights: ptbxl 1.0.3, 17,084 records, 50 epochs, training folds 1, 2, 3, 4, 5, 6, 7, "
        "8, seed 0, configuration `training/configs/net.yaml`."
    )
    assert "is optimiztic here" in text
    assert "| superclass (5 labels) | from scratch | this checkpoint | 0.871 (0.860-0.882) |" in text
    assert "mae, fine-tuned" in text.partition("## Label efficiency")[2]
    assert "mae" not in text.partition("## Results")[2].partition("## Label efficiency")[0]


def test_what_a_run_says_of_itself_stands_first(supervised):
    run = {"corpus": {"name": "ptbxl", "version": "1.0.3"}, "records": 17_084, "epochs": 50.0, "steps": 6_650}
    text = render_card(dataclasses.replace(supervised, run=run | {"hours": 0.42, "seed": 0}))
    line = "- Supervised, from new weights: ptbxl 1.0.3, 17,084 records, 50 epochs, 6,650 steps, 25.2 minutes, seed 0."
    assert line in text


def test_a_fine_tuned_classifier_names_its_pretraining_and_its_fine_tuning(facts, results):
    tuned = results[2] | {"train_records": 900, "chosen": {"epoch": 7.0}, "seconds": 60.0}
    text = render_card(dataclasses.replace(facts, kind="classifier", labels=[("MI", "MI")], results=[tuned]))
    assert "- Pretraining: 17,418 records, 20 epochs, 2,720 steps" in text
    assert "- Fine-tuning: ptbxl 1.0.3, 900 records, 7 epochs, training folds" in text


def test_a_classifier_is_used_with_the_pipeline_its_parts_and_further_training(supervised):
    text = render_card(supervised)
    assert 'classify = pipeline("ecg-classification", model="hub/tiny")' in text
    assert "reaches the threshold that is saved for that label" in text
    assert "probabilities = logits.sigmoid().mean(dim=0)" in text
    assert "training/finetune.py --model hub/tiny --mode fine_tune" in text
    single = dataclasses.replace(supervised, problem_type="single_label_classification", has_thresholds=False)
    assert "logits.softmax(dim=-1).mean(dim=0)" in render_card(single)
    many = dataclasses.replace(supervised, labels=[(f"L{number}", "name") for number in range(71)])
    assert "<summary>The 71 labels in the order of the logits</summary>" in render_card(many)


def test_sections_without_figures_are_left_out_with_their_prose(facts, supervised):
    template = TEMPLATE + "\n## Labels\n\nWords. {{label_table}}\n\n## Hum\n\nMore. {{noise}}\n\n## End\n\nStays.\n"
    text = render_card(facts, template)
    assert "## Labels" not in text
    assert "More." not in text
    assert text.endswith("## End\n\nStays.\n")
    figures = [{"code": code, "positives": 20, "auroc": 0.871} for code in ("NORM", "MI")]
    text = render_card(dataclasses.replace(supervised, label_figures=figures), template)
    assert "## Labels\n\nWords. Lowest AUROC among the 2 labels" in text
    assert "## Hum" not in text


def test_a_picture_is_shown_where_the_folder_has_it(supervised):
    assert "label_efficiency.png" not in render_card(supervised)
    files = [*supervised.files, PublishedFile("label_efficiency.png", 1, "00")]
    assert "](label_efficiency.png)" in render_card(dataclasses.replace(supervised, files=files))


@pytest.mark.parametrize("folder", CARDS, ids=lambda path: path.name)
def test_cards_of_this_repository_render_and_their_commands_exist(folder, supervised):
    template = (folder / "card.md").read_text(encoding="utf-8")
    text = render_card(dataclasses.replace(supervised, name=folder.name), template)
    check_card(text, supervised.results)
    known = {name for kind in (FineTuneArguments, ScoreArguments, EcgTrainingArguments) for name in field_types(kind)}
    known |= {"source", "output", "sampling_rate", "num_proc"}  # of training/prepare.py
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for option in re.findall(r" --([a-z_]+)", block):
            assert option in known, option
        for file in re.findall(r"training/\S+", block):
            assert (ROOT / file).is_file(), file


def test_the_default_template_ships_with_the_package():
    assert DEFAULT_TEMPLATE.is_file()
