"""BeatGAN's published preparation on excerpts of four records: filter, R peaks, fate of each annotation, windows."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from ecg_transformers.corpora.beat_splits import (
    CLASSES,
    PATIENT_FOLDS,
    de_chazal_split,
    patient_split,
    published_split,
)
from ecg_transformers.corpora.layout import CorpusRecord
from ecg_transformers.corpora.sources.mitdb import DS1, DS2
from ecg_transformers.corpora.sources.mitdb_beats import beats_definition, cut_recording
from ecg_transformers.features.steps import normalize_windows
from ecg_transformers.signals.filters import fir_bandpass, fir_taps
from ecg_transformers.signals.published_segmenter import segment_r_peaks
from ecg_transformers.signals.record import Annotations

from .recorded import DATA

FOLDER = DATA / "beatgan"
RECORDS = ("100", "114", "207", "208")


@pytest.fixture(scope="module")
def excerpts():
    return load_file(FOLDER / "prep_excerpts.safetensors")


@pytest.fixture(scope="module")
def beats():
    """Class, record, patient and fold of each beat of the published preparation."""
    stored = np.load(FOLDER / "prep_beats.npz", allow_pickle=False)
    record = stored["record"].astype(np.int64)
    return {
        "classes": stored["cls"].astype(np.int64),
        "patients": np.where(record == 202, 201, record),
        "folds": np.where(np.isin(record, DS1), 1, 2),
        "records": record,
    }


@pytest.fixture(scope="module")
def counts():
    return json.loads((FOLDER / "prep_counts.json").read_text())


def recording(excerpts, name):
    leads = ("V5", "MLII") if name == "114" else ("MLII", "other")
    marks = Annotations(excerpts[f"{name}.ann_sample0"], [chr(code) for code in excerpts[f"{name}.ann_symbol"]])
    return CorpusRecord(
        np.ascontiguousarray(excerpts[f"{name}.adc"].T),
        360,
        leads,
        np.full(2, 200.0),
        np.full(2, 1024),
        record_id=int(name),
        name=name,
        annotations=marks,
    )


def filtered(excerpts, name):
    adc = excerpts[f"{name}.adc"].T.astype(np.float64)
    return fir_bandpass(((adc - 1024) / 200)[:: -1 if name == "114" else 1], 360, 3, 45, taps=109)


def test_filter_has_the_published_taps(excerpts):
    np.testing.assert_allclose(fir_taps(3, 45, 360, taps=109), excerpts["fir_taps"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", RECORDS)
def test_filtered_leads_are_as_recorded(excerpts, name):
    found = filtered(excerpts, name)
    first, second = excerpts[f"{name}.filtered0"], excerpts[f"{name}.filtered1_first2000"]
    np.testing.assert_allclose(found[0, : len(first)], first, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found[1, :2000], second, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", RECORDS)
def test_r_peaks_are_as_recorded(excerpts, name):
    np.testing.assert_array_equal(segment_r_peaks(filtered(excerpts, name)[0], 360), excerpts[f"{name}.rpeaks"])


@pytest.mark.parametrize("name", RECORDS)
def test_each_annotation_has_the_recorded_fate(excerpts, name):
    rows = cut_recording(recording(excerpts, name), "published")
    assert [row.start + 140 for row in rows] == excerpts[f"{name}.kept_index1"].tolist()
    sets = beats_definition("published").label_sets("N")["aami"]
    classes = {symbol: place for place, symbols in enumerate(sets.sources) for symbol in symbols}
    assert [classes[row.labels[0]] for row in rows] == excerpts[f"{name}.kept_class"].tolist()
    kept = np.isin(excerpts[f"{name}.ann_sample0"] + 1, [row.start + 140 for row in rows])
    np.testing.assert_array_equal(kept, excerpts[f"{name}.ann_fate"] == 0)


@pytest.mark.parametrize("name", RECORDS)
def test_windows_are_as_recorded(excerpts, name):
    import torch

    rows = cut_recording(recording(excerpts, name), "published")
    windows = np.stack([row.signal for row in rows[:3]])
    np.testing.assert_allclose(windows[:, 0], excerpts[f"{name}.window"][:, 0], rtol=0, atol=1e-6)
    scaled = normalize_windows(torch.from_numpy(windows), normalization="minmax_lead").numpy()
    np.testing.assert_allclose(scaled[:, 0], excerpts[f"{name}.window_scaled"][:, 0], rtol=0, atol=2e-6)


def test_corrected_beats_are_at_their_annotations(excerpts):
    rows = cut_recording(recording(excerpts, "207"), "corrected")
    marks = recording(excerpts, "207").annotations
    inside = [
        (place, symbol)
        for place, symbol in zip(marks.samples.tolist(), marks.symbols, strict=True)
        if symbol in "NLRVAaJSjeEFQ/f" and 140 <= place <= 21600 - 180
    ]
    assert [(row.start + 140, row.labels[0]) for row in rows] == inside
    assert len(rows) > len(cut_recording(recording(excerpts, "207"), "published"))


def test_classes_differ_in_escape_beats():
    published, corrected = (beats_definition(name).label_sets("Nje")["aami"] for name in ("published", "corrected"))
    assert {"j", "e"} <= set(published.sources[1])
    assert {"j", "e"} <= set(corrected.sources[0])
    assert published.codes == corrected.codes == CLASSES


def test_published_split_has_the_published_sizes(beats, counts):
    sizes = counts["official_split"]
    for fold in range(5):
        split = published_split(beats["classes"], fold)
        assert len(split.train) == sizes["train"]
        for part, rows in (("val", split.validation), ("test", split.test)):
            found = np.bincount(beats["classes"][rows], minlength=5)
            assert found.tolist() == [sizes[part][name] for name in CLASSES]
        rows = np.concatenate([split.train, split.validation, split.test])
        assert len(np.unique(rows)) == len(rows) == len(beats["classes"])
        assert (beats["classes"][split.train] == 0).all()
        assert split.shares_patients


def test_the_tenth_is_drawn_as_by_scikit_learn(counts):
    from ecg_transformers.corpora.beat_splits import _tenth_held_out

    for stated in counts["train_test_split_random_state_0"]:
        kept, held = _tenth_held_out(np.arange(stated["n"]))
        assert (len(kept), len(held)) == (stated["kept"], stated["held"])
        assert kept[:5].tolist() == stated["kept_first5"]
        assert held[:5].tolist() == stated["held_first5"]
        assert held.sum() == stated["held_index_sum"]


def test_folds_of_patients_are_the_recorded_ones(beats):
    stated = json.loads((FOLDER / "subject_folds.json").read_text())
    assert [list(fold) for fold in PATIENT_FOLDS] == stated["folds"]
    for fold, counted in enumerate(stated["kept_beats_N_S_V_F_Q"]):
        split = patient_split(beats["classes"], beats["patients"], fold)
        assert np.bincount(beats["classes"][split.test], minlength=5).tolist() == counted
        parts = [set(beats["patients"][rows].tolist()) for rows in (split.train, split.validation, split.test)]
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert not parts[1] & parts[2]
        assert not split.shares_patients
        assert (beats["classes"][split.train] == 0).all()


def test_de_chazal_tests_all_of_ds2_and_shares_no_patient(beats):
    split = de_chazal_split(beats["classes"], beats["patients"], beats["folds"])
    assert sorted(set(beats["records"][split.test].tolist())) == sorted(DS2)
    assert not set(beats["patients"][split.train].tolist()) & set(beats["patients"][split.test].tolist())
    assert not set(beats["patients"][split.validation].tolist()) & set(beats["patients"][split.train].tolist())
    assert 201 not in beats["records"][split.train]
