"""The rendered card: complete, its figures those of results.json, its prose the template's."""

import dataclasses

import pytest
from huggingface_hub import ModelCard

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing.card import DEFAULT_TEMPLATE, CardFacts, PublishedFile, check_card, render_card


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
  - {name: ptbxl, title: PTB-XL, version: 1.0.3, licence: CC BY 4.0, homepage: "https://physionet.org/content/ptb-xl/",
     citation: "Wagner et al. 2020.", use: "pretraining, folds 1-8"}
weights_license: CC BY 4.0
commercial_use: Allowed with attribution.
citation: Ours.
---
# {{name}}

Prose of the author.

{{ usage }} {{contract}} {{intended_use}} {{licences}} {{training}} {{results}} {{files}} {{citation}}
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


def test_the_template_brings_prose_licences_and_metadata(facts):
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


def test_the_default_template_ships_with_the_package():
    assert DEFAULT_TEMPLATE.is_file()
