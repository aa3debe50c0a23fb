"""What the card of a checkpoint inherits from the one it was trained from, and what its author is asked for."""

import json
import logging
import shutil

import pytest

from ecg_transformers.errors import CheckpointError
from ecg_transformers.publishing import publish
from ecg_transformers.publishing.card.head import derived_template, split_head, unstated

BASE = """---
license: cc-by-nc-4.0
model_name: base-ecg
tags: [ecg, self-supervised]
attribution:
  weights_license: CC BY-NC 4.0, with the attribution of PTB-XL
  citation: Somebody. A system. A journal (2026).
  corpora:
    - {name: ptbxl, title: PTB-XL, version: 1.0.3, license: CC BY 4.0, use: folds 1-8, citation: 'Wagner P.'}
---
# base-ecg
"""
FOLDER = {"name": "folder", "title": "recordings of the folder ecgs", "version": "", "license": ""}
GEORGIA = {"name": "georgia", "title": "Georgia", "version": "1.0.2", "license": "CC BY 4.0", "citation": "Alday E."}


@pytest.fixture
def run(published, tmp_path):
    """A published checkpoint, whose card is to be rendered from its own folder."""
    return shutil.copytree(published.folder, tmp_path / "run")


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "README.md").write_text(BASE)
    return folder


def test_license_and_attributions_are_inherited_and_own_recordings_are_asked_for(base):
    text = derived_template(base, FOLDER, use="fine-tuning")
    head, body = split_head(text)
    assert head["license"] == "cc-by-nc-4.0"
    assert head["base_model"] == "base-ecg"
    assert head["weights_license"] == "CC BY-NC 4.0, with the attribution of PTB-XL"
    assert head["citation"].startswith("Somebody.")
    inherited, own = head["corpora"]
    assert (inherited["title"], inherited["license"], inherited["citation"]) == ("PTB-XL", "CC BY 4.0", "Wagner P.")
    assert inherited["use"] == "base-ecg: folds 1-8"
    assert (own["name"], own["title"], own["license"], own["use"]) == ("folder", None, None, "fine-tuning")
    assert unstated(head) == ["corpora[1].title (of folder)", "corpora[1].license (of folder)"]
    assert "fill in what is empty" in text
    assert "{{licenses}}" in body


def test_a_corpus_with_a_license_needs_no_question_and_is_listed_once(base):
    head, _ = split_head(derived_template(base, GEORGIA, use="linear probe"))
    assert unstated(head) == []
    assert [one["name"] for one in head["corpora"]] == ["ptbxl", "georgia"]
    again, _ = split_head(derived_template(base, {"name": "ptbxl", "version": "1.0.3", "license": "CC"}, use="x"))
    assert [one["use"] for one in again["corpora"]] == ["base-ecg: folds 1-8; x"]


def test_a_base_that_says_nothing_is_asked_about(tmp_path):
    head, _ = split_head(derived_template(tmp_path, GEORGIA, use="fine-tuning"))
    assert unstated(head)[0] == "license"
    assert head["corpora"][0]["name"] == f"training data of {tmp_path.name}"
    # A run of pretraining names its corpora.
    (tmp_path / "run.json").write_text(json.dumps({"corpus": {"name": "ptbxl", "version": "1.0.3"}}))
    head, _ = split_head(derived_template(tmp_path, GEORGIA, use="fine-tuning"))
    assert head["corpora"][0]["license"].startswith("Creative Commons Attribution 4.0")
    # A name of the Hub is the base_model; without its card everything is asked for.
    head, _ = split_head(derived_template("tester/absent", GEORGIA, use="fine-tuning"))
    assert head["base_model"] == "tester/absent"
    assert "base_model" not in split_head(derived_template(None, GEORGIA, use="training"))[0]


def test_what_is_not_stated_stands_on_the_card_and_stops_a_push(run, base, tmp_path, caplog):
    (run / "card.md").write_text(derived_template(base, FOLDER, use="fine-tuning"))
    with caplog.at_level(logging.WARNING, "ecg_transformers"):
        publish(run, card=run, output_dir=tmp_path / "out", clean_process=False)
    assert "does not state: corpora[1].title (of folder), corpora[1].license (of folder)" in caplog.text
    text = (tmp_path / "out" / "README.md").read_text()
    metadata, _ = split_head(text)
    assert metadata["license"] == "other"
    assert metadata["base_model"] == "base-ecg"
    assert "**Not stated by the publisher yet: corpora[1].title (of folder)" in text
    assert "Wagner P." in text
    with pytest.raises(CheckpointError, match=r"corpora\[1\].license"):
        publish(run, "tester/toy", card=run, push=True, require_results=False)


def test_what_was_filled_in_is_published_and_inherited_again(run, base, tmp_path):
    template = derived_template(base, FOLDER | {"title": "Own", "license": "CC0"}, use="fine-tuning")
    (run / "card.md").write_text(template)
    publish(run, card=run, output_dir=tmp_path / "out", clean_process=False)
    metadata, _ = split_head((tmp_path / "out" / "README.md").read_text())
    assert metadata["license"] == json.loads((tmp_path / "out" / "config.json").read_text())["license"]
    assert metadata["license"] == "cc-by-nc-4.0"
    child, _ = split_head(derived_template(tmp_path / "out", GEORGIA, use="linear probe"))
    assert [one["name"] for one in child["corpora"]] == ["ptbxl", "folder", "georgia"]
    assert child["license"] == "cc-by-nc-4.0"
    assert child["citation"].startswith("Somebody.")


def test_the_card_says_how_to_install_and_shows_the_pictures_of_its_template(run, tmp_path):
    from ecg_transformers.publishing.card.head import DEFAULT_TEMPLATE

    (run / "card.md").write_text(DEFAULT_TEMPLATE.read_text() + "\n![A reconstruction](reconstruction.png)\n")
    with pytest.raises(CheckpointError, match=r"shows reconstruction\.png"):
        publish(run, card=run, output_dir=tmp_path / "out", clean_process=False)
    (run / "reconstruction.png").write_bytes(b"a picture")
    publish(
        run, card=run, output_dir=tmp_path / "out", clean_process=False, source="https://example.org/ecg-transformers"
    )
    text = (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "reconstruction.png").read_bytes() == b"a picture"
    assert 'pip install "git+https://example.org/ecg-transformers"' in text
    assert "Source code: https://example.org/ecg-transformers." in text
