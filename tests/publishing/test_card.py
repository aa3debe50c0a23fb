"""The rendered card: complete, its scores those of results.json, its prose the template's, in one order."""

import dataclasses
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from ecg_transformers import MaeMocoConfig
from ecg_transformers.auto import ARCHITECTURES
from ecg_transformers.commands.benchmark_options import BenchmarkArguments
from ecg_transformers.commands.command_line import field_types
from ecg_transformers.commands.downstream import FineTuneArguments, ScoreArguments
from ecg_transformers.commands.options import declared_options
from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card.card import DEFAULT_TEMPLATE, check_card, render_card
from ecg_transformers.publishing.card.facts import CardFacts
from ecg_transformers.trainer.arguments import EcgTrainingArguments


def config(labels=(("LABEL_0", "LABEL_0"),), **fields):
    return MaeMocoConfig(
        num_leads=2,
        lead_names=["I", "II"],
        sampling_rate=100,
        window_size=1000,
        hidden_size=32,
        id2label=dict(enumerate(code for code, _ in labels)),
        label_names=[name for _, name in labels],
        **{"intended_use": "Research only.", "problem_type": "multi_label_classification"} | fields,
    )


@pytest.fixture
def facts(results):
    return CardFacts(
        name="tiny",
        checkpoint="hub/tiny",
        head="encoder",
        architecture="MaeMocoModel",
        parameters=1_234_567,
        config=config(),
        contract="1. leads I, II",
        contract_hash="abc",
        golden="00001_hr, 12 leads, 500 Hz",
        hashes={"config.json": "0f" * 32, "errors.py": "ff" * 32},
        results=results,
    )


LABELS = (("NORM", "normal"), ("MI", "infarction"))
ORDER = ["Use", "Input", "Results", "Limits and intended use", "Data and licenses"]
TEMPLATE = """---
license: cc-by-4.0
tags: [mae]
datasets: [someone/ptb-xl]
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


def test_the_default_card_is_complete_and_its_scores_are_those_of_the_results(facts, results):
    text = render_card(facts)
    check_card(text, results)
    card = ModelCard(text)
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag == "feature-extraction"
    assert "ecg" in card.data.tags
    assert card.data.model_name == "tiny"
    assert [one.metric_value for one in card.data.eval_results] == [0.8712, 0.9, 0.8]
    assert card.data.datasets is None, "only a template names datasets, by their ids on the Hub"
    for part in (
        "**Not for** diagnosis",
        "1. leads I, II",
        "0f0f",
        "- `config.json`: `0f0f",
        "Hash of the input contract: `abc`",
        "1.23 million parameters",
    ):
        assert part in text
    assert "17,418 records" in text
    assert "`training/configs/mae_moco_ptbxl.yaml`" in text


def headings(text):
    return re.findall(r"^## (.*)$", text, flags=re.MULTILINE)


def test_a_card_says_what_it_is_how_it_is_used_what_goes_in_how_good_it_is_its_limits_and_its_licenses(facts):
    assert headings(render_card(facts)) == ORDER


def test_a_model_writes_sections_of_its_own(facts):
    sections = {"summary": "It finds anomalies.", "heat_maps": "Where the reconstruction fails."}
    text = render_card(dataclasses.replace(facts, sections=sections))
    assert "It finds anomalies." in text
    assert "one embedding of" not in text
    assert "### Heat maps\n\nWhere the reconstruction fails." in text.partition("## Results")[2].partition("\n## ")[0]
    placed = TEMPLATE + "{{heat_maps}}\n"
    text = render_card(dataclasses.replace(facts, sections=sections), placed)
    assert text.endswith("Where the reconstruction fails.\n")
    assert "### Heat maps" not in text


def test_the_method_that_pretrained_a_backbone_is_named(facts):
    assert "Pretrained by" not in render_card(facts)
    text = render_card(dataclasses.replace(facts, config=config(pretrained_by="toy_simclr")))
    assert "Pretrained by `toy_simclr`." in text


def test_a_folder_without_code_is_not_opened_by_remote_code(facts):
    assert "trust_remote_code=True)\n" in render_card(facts)
    text = render_card(dataclasses.replace(facts, hashes={"config.json": "00"}))
    assert "trust_remote_code=True)\n" not in text
    assert "This folder holds no code" in text
    assert "training/publish.py hub/tiny --output_dir out/tiny" in text


def test_the_template_brings_prose_licenses_and_metadata(facts):
    text = render_card(facts, TEMPLATE)
    data = ModelCard(text).data
    assert data.license == "cc-by-4.0"
    assert data.datasets == ["someone/ptb-xl"]
    assert data.tags == ["ecg", "mae"]
    assert not hasattr(data, "corpora")
    assert data.attribution["corpora"][0]["citation"] == "Wagner et al. 2020."
    assert "Prose of the author." in text
    assert "- Code: Apache-2.0." in text
    assert "- Weights: CC BY 4.0." in text
    assert "[PTB-XL](https://physionet.org/content/ptb-xl/) 1.0.3, CC BY 4.0 (pretraining, folds 1-8)." in text
    assert "- Commercial use: Allowed with attribution." in text
    assert "Wagner et al. 2020." in text


def test_a_classifier_lists_its_labels_by_code_and_name(facts):
    text = render_card(dataclasses.replace(facts, head="classifier", config=config(LABELS)))
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


def test_a_card_whose_scores_were_edited_is_refused(facts, results):
    text = render_card(facts)
    with pytest.raises(CheckpointError, match="model-index"):
        check_card(text.replace("0.8712", "0.9712"), results)
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
        "mode": "from_scratch", "initialization": "random", "difference": None, "train_records": 17_084,
        "selection": "nothing is chosen (last epoch); thresholds on folds 9, which are reported", "seconds": 1800.0,
        "chosen": {"epoch": 50.0}, "hardware": "1 x 1 CPU threads", "config": "training/configs/net.yaml",
        "pretraining": {"records": 0, "epochs": 0, "steps": 0, "hardware": "", "hours": 0.0},
    }  # fmt: skip
    beside = results[2] | {"checkpoint": "mae"}
    return dataclasses.replace(
        facts,
        head="classifier",
        config=config(LABELS, thresholds=[0.5, 0.4]),
        results=[own, beside, own | {"train_folds": [1], "value": 0.7}, beside | {"train_folds": [1], "value": 0.8}],
    )


def test_a_supervised_card_says_how_it_was_trained_and_nothing_of_pretraining(supervised):
    text = render_card(supervised)
    check_card(text, supervised.results)
    assert [one.metric_value for one in ModelCard(text).data.eval_results] == [0.8712]
    assert (
        "\n- Supervised training from random weights: ptbxl 1.0.3, 17,084 records, 50 epochs, training folds 1, 2, 3, "
        "4, 5, 6, 7, 8, seed 0, configuration `training/configs/net.yaml`.\n"
    ) in text
    assert "Pretraining:" not in text
    assert "The thresholds were fitted on the reported records" in text
    assert "| superclass (5 labels) | from scratch | 0.871 (0.860-0.882) | - | 2,146 | 1 |" in text
    assert "mae" not in text.partition("## Results")[2].partition("## Limits")[0]


def test_what_a_run_says_of_itself_stands_first(supervised):
    run = {"corpus": {"name": "ptbxl", "version": "1.0.3"}, "records": 17_084, "epochs": 50.0, "steps": 6_650}
    run |= {"hours": 0.42, "seed": 0, "provenance": "Put together by hand."}
    text = render_card(dataclasses.replace(supervised, run=run))
    facts = "ptbxl 1.0.3, 17,084 records, 50 epochs, 6,650 steps, 25.2 minutes, seed 0. Put together by hand."
    assert f"- Supervised training from random weights: {facts}" in text


def test_a_run_on_a_share_of_the_data_with_chosen_positives_says_so(supervised):
    run = {"records": 4_354, "data_fraction": 0.25, "sampling": "srcl", "seed": 1}
    text = render_card(dataclasses.replace(supervised, run=run))
    assert "4,354 records, 25% of the training data, positives by `srcl`, seed 1." in text


def test_a_fine_tuned_classifier_names_its_pretraining_and_its_fine_tuning(facts, results):
    tuned = results[2] | {"train_records": 900, "chosen": {"epoch": 7.0}, "seconds": 60.0}
    labels = config((("MI", "MI"),))
    text = render_card(dataclasses.replace(facts, head="classifier", config=labels, results=[tuned]))
    assert "- Pretraining: 17,418 records, 20 epochs, 2,720 steps" in text
    assert "- Fine-tuning: ptbxl 1.0.3, 900 records, 7 epochs, training folds" in text


def test_a_classifier_is_used_with_the_pipeline_its_parts_and_further_training(supervised):
    text = render_card(supervised)
    assert 'classify = pipeline("ecg-classification", model="hub/tiny")' in text
    assert "`positive`: above the threshold of the label, `None` if it has none." in text
    assert "probabilities = logits.sigmoid().mean(dim=0)" in text
    assert "training/finetune.py --model hub/tiny --mode fine_tune" in text
    assert "```sh\nexport ACCELERATE_LOG_LEVEL=error" in text
    single = config(LABELS, problem_type="single_label_classification")
    assert "logits.softmax(dim=-1).mean(dim=0)" in render_card(dataclasses.replace(supervised, config=single))
    many = dataclasses.replace(supervised, config=config([(f"L{number}", "name") for number in range(71)]))
    assert "<summary>The 71 labels in the order of the logits</summary>" in render_card(many)


def test_sections_with_nothing_to_show_are_left_out_with_their_prose(supervised):
    template = (
        TEMPLATE + "\n## Curve\n\nWords. {{label_efficiency}}\n\n## Noise\n\nMore. {{noise}}\n\n## End\n\nStays.\n"
    )
    text = render_card(supervised, template)
    assert "## Curve" not in text
    assert "More." not in text
    assert text.endswith("## End\n\nStays.\n")
    drawn = dataclasses.replace(supervised, hashes={"label_efficiency.png": "00"})
    text = render_card(drawn, template)
    assert "Words. ![Score over the number of labeled recordings](label_efficiency.png)" in text
    assert "## Noise" not in text


def test_the_worst_labels_are_named(supervised):
    scores = [{"code": code, "positives": 20, "auroc": 0.871} for code in ("NORM", "MI")]
    assert "Lowest AUROC of the 2 labels" in render_card(dataclasses.replace(supervised, label_scores=scores))


@pytest.mark.parametrize("folder", CARDS, ids=lambda path: path.name)
def test_cards_of_this_repository_render_and_their_commands_exist(folder, supervised):
    template = (folder / "card.md").read_text(encoding="utf-8")
    text = render_card(dataclasses.replace(supervised, name=folder.name), template)
    check_card(text, supervised.results)
    assert headings(text) == ORDER
    known = {"folds", *field_types(EcgTrainingArguments)}
    known |= {
        name for kind in (FineTuneArguments, ScoreArguments, BenchmarkArguments) for name in declared_options(kind)
    }
    known |= {"source", "output", "sampling_rate", "num_proc"}  # of training/prepare.py
    known |= {name for row in ARCHITECTURES.values() for name in row.config.__dataclass_fields__}  # beside a CONFIG
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for option in re.findall(r" --([a-z_]+)", block):
            assert option in known, option
        for file in re.findall(r"training/\S+", block):
            assert (ROOT / file).is_file(), file


def test_the_default_template_ships_with_the_package():
    assert DEFAULT_TEMPLATE.is_file()
