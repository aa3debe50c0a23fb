"""Recordings scored as a user gets them: which beats are found, missed and extra, and how they are judged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection, viz
from ecg_transformers.commands import beat_pictures, beats_as_used
from ecg_transformers.commands.beat_pictures import BeatPictures
from ecg_transformers.commands.beats_as_used import score_as_used
from ecg_transformers.corpora.beat_splits import BeatSplit
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.sources.mitdb_beats import beats_definition
from ecg_transformers.errors import CorpusError
from ecg_transformers.evaluation.beats.checkpoint import BeatScorer

SOURCE = Path(__file__).parents[1] / "data" / "mitdb"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beats") / "corpus"
    return build_corpus(beats_definition("corrected"), SOURCE, folder, progress=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    config = BeatganConfig(base_channels=2, latent_size=4, anomaly_threshold=0.5)
    BeatganForAnomalyDetection(config).eval().save_pretrained(folder)
    BeatganFeatureExtractor().save_pretrained(folder)
    return str(folder)


def split(corpus, **changes):
    rows = np.arange(len(corpus))
    return BeatSplit("own", rows[:1], rows[:1], rows, **changes)


def test_detected_beats_are_judged_by_the_annotated_ones(corpus, checkpoint, capfd):
    found = score_as_used(checkpoint, corpus, [split(corpus)], SOURCE)
    assert "Loading weights" not in capfd.readouterr().err
    missed = found.annotated - len(found.scored.scores)
    assert 0 <= missed <= 2  # beats at the ends of the recording are not complete
    assert found.extra <= 1
    assert found.facts == {
        "annotated": found.annotated, "found": len(found.scored.scores), "missed": missed, "extra": found.extra,
    }  # fmt: skip
    assert len(found.ranked.scores) == len(found.scored.scores)
    assert f"{missed:,} missed" in str(found)
    assert set(found.scored.patient_ids.tolist()) == {100}
    annotated = BeatScorer(checkpoint).score(corpus)
    assert np.median(found.scored.scores) == pytest.approx(np.median(annotated), rel=0.05)
    kinds = corpus.label_matrix("aami").values.argmax(axis=1)
    assert np.bincount(found.scored.classes, minlength=5).tolist() == np.bincount(kinds, minlength=5).tolist()


def test_what_the_detector_invents_is_extra(corpus, checkpoint, monkeypatch):
    match = beats_as_used.match_peaks
    monkeypatch.setattr(beats_as_used, "match_peaks", lambda peaks, places, rate: match(peaks, places[5:], rate))
    found = score_as_used(checkpoint, corpus, [split(corpus)], SOURCE)
    assert found.extra >= 4


def test_a_split_that_shares_patients_has_no_test_recordings(corpus, checkpoint, tmp_path):
    with pytest.raises(CorpusError, match="same patients"):
        score_as_used(checkpoint, corpus, [split(corpus, shares_patients=True)], SOURCE)
    with pytest.raises(CorpusError, match=r"100.hea is not there"):
        score_as_used(checkpoint, corpus, [split(corpus)], tmp_path)


def test_examples_are_drawn_of_what_was_scored(corpus, checkpoint, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(viz, "plot_heat", lambda *arrays, **options: drawn.setdefault(options["title"], arrays))
    monkeypatch.setattr(viz, "plot_beats", lambda record, rows, **options: drawn.setdefault("strip", rows))
    monkeypatch.setattr(BeatPictures, "_save", lambda pictures, name, figure: pictures.folder / name)
    monkeypatch.setattr(beat_pictures, "STRIP_RECORD", "100")
    pictures = BeatPictures(tmp_path)
    found = []
    monkeypatch.setattr(pictures, "add", lambda one: (found.append(one), BeatPictures.add(pictures, one)))
    score_as_used(checkpoint, corpus, [split(corpus)], SOURCE, pictures=pictures)
    strip, shown, alarm = drawn
    assert strip == "strip"
    flags = [row["anomalous"] for row in drawn[strip]]
    assert 0 < sum(flags) <= 0.02 * len(flags) + 1  # above the .99 quantile of its own normal beats
    scores, normal = found[0].scores, found[0].classes == 0
    assert f"score {scores[normal].max():.3g}, annotated as normal" in alarm
    first = [row for row in found[0].rows if row["peak"] < 10]
    assert f"score {max(row['score'] for row in first):.3g}" in shown
    worst = found[0].rows[int(np.where(normal, scores, 0).argmax())]
    np.testing.assert_allclose(drawn[alarm][2], worst["heat"], rtol=1e-3, atol=1e-5)
