"""Recordings scored as a user gets them: which beats are found, missed and extra, and how they are judged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_transformers import BeatganConfig, BeatganFeatureExtractor, BeatganForAnomalyDetection
from ecg_transformers.commands import beats_as_used
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


def test_detected_beats_are_judged_by_the_annotated_ones(corpus, checkpoint):
    found = score_as_used(checkpoint, corpus, [split(corpus)], SOURCE)
    missed = found.annotated - len(found.scored.scores)
    assert 0 <= missed <= 2  # beats at the ends of the recording are not complete
    assert found.extra <= 1
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
