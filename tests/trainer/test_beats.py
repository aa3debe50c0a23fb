"""Beats in training are the beats of a recording at use, also with the median beat of the recording as reference."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.sources.mitdb_beats import beat_contract, beats_definition, cut_recording
from ecg_transformers.errors import CorpusError, SignalError
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.signals.record import Annotations, EcgRecord
from ecg_transformers.trainer import stored
from ecg_transformers.trainer.data import WindowDataset

NAMES = ("100", "208")


def extractor(**changes):
    return EcgFeatureExtractor(**vars(beat_contract()) | changes)


@pytest.fixture(scope="module")
def recordings(request):
    data = load_file(request.config.rootpath / "tests" / "parity" / "data" / "beatgan" / "prep_excerpts.safetensors")
    rows = []
    for name in NAMES:
        marks = Annotations(data[f"{name}.ann_sample0"], [chr(code) for code in data[f"{name}.ann_symbol"]])
        signal = np.ascontiguousarray(data[f"{name}.adc"].T[:1])
        rows.append(
            CorpusRecord(signal, 360, ("MLII",), [200.0], [1024], record_id=int(name), name=name, annotations=marks)
        )
    return rows


@pytest.fixture(scope="module")
def corpus(recordings, tmp_path_factory):
    definition = beats_definition("corrected")
    beats = [beat for row in recordings for beat in cut_recording(row)]
    info = {"name": "mitdb_beats", "preprocessed_by": definition.stored_after()}
    return write_corpus(
        beats, tmp_path_factory.mktemp("beats") / "corpus", info, label_sets=definition.label_sets("NVF")
    )


@pytest.mark.parametrize("reference", ["none", "record_median_beat"])
def test_training_and_use_see_the_same_beats(corpus, recordings, reference):
    prepare = extractor(reference=reference)
    trained = WindowDataset(corpus, prepare).__getitems__(np.arange(len(corpus)))["input_values"].numpy()
    records = [EcgRecord(row.in_millivolts(), 360, row.leads, name=row.name) for row in recordings]
    peaks = [corpus.starts[corpus.parent_ids == row.record_id] + 140 for row in recordings]
    used = prepare(records, peaks=peaks)["input_values"]
    np.testing.assert_allclose(trained, used, atol=1e-5)
    assert np.abs(used).max() > 0.9


def test_the_reference_is_over_all_beats_of_the_recording(corpus):
    prepare = extractor(reference="record_median_beat")
    ventricular = corpus.label_matrix("aami").values[:, 2] == 1
    assert 0 < ventricular.sum() < len(corpus) / 2
    whole = WindowDataset(corpus, prepare).__getitems__(np.flatnonzero(ventricular))["input_values"]
    some = WindowDataset(corpus.select(ventricular), prepare)
    np.testing.assert_array_equal(some.__getitems__(np.arange(ventricular.sum()))["input_values"], whole)


def test_stored_beats_are_used_as_they_lie_on_disk(corpus, monkeypatch):
    monkeypatch.setattr(stored, "_prepare", None)
    assert stored.store_signals(corpus, extractor()).values.dtype == np.float32


def test_beats_of_another_filter_are_refused(corpus):
    with pytest.raises(SignalError, match="another contract"):
        WindowDataset(corpus, extractor(fir_taps=111))


def test_a_reference_needs_beats_of_recordings(recordings, tmp_path):
    whole = write_corpus(recordings, tmp_path / "whole", {"name": "whole"})
    with pytest.raises(CorpusError, match="no beats of a recording"):
        WindowDataset(whole, extractor(reference="record_median_beat"))
