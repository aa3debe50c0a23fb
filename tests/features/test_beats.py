"""Windows around R peaks, the FIR band-pass and the reference beat in the contract."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoFeatureExtractor

from ecg_transformers.errors import SignalError
from ecg_transformers.features.contract import SignalContract
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.signals.record import EcgRecord

BEATS = {
    "lead_names": ["MLII"],
    "sampling_rate": 360,
    "window_size": 320,
    "window_mode": "beats",
    "samples_before": 140,
    "samples_after": 180,
    "bandpass": [3, 45],
    "fir_taps": 109,
    "normalization": "minmax_lead",
    "return_attention_mask": False,
}
PEAKS = np.array([50, 400, 800, 1200, 3500])


@pytest.fixture
def record():
    noise = np.random.default_rng(0).normal(size=(1, 3600))
    return EcgRecord(noise, 360, ["MLII"], name="100")


def test_one_window_per_complete_beat(record):
    plain = EcgFeatureExtractor(**BEATS | {"bandpass": None, "fir_taps": None, "normalization": "none"})
    batch = plain(record, peaks=PEAKS)
    expected = np.stack([record.signal[:, peak - 140 : peak + 180] for peak in (400, 800, 1200)])
    np.testing.assert_array_equal(batch["input_values"], expected)
    assert batch["record_index"].tolist() == [0, 0, 0]


def test_several_records_have_their_own_peaks(record):
    extractor = EcgFeatureExtractor(**BEATS)
    batch = extractor([record, record], peaks=[PEAKS, PEAKS[1:3]])
    assert batch["record_index"].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_array_equal(batch["input_values"][3:], batch["input_values"][:2])


def test_peaks_follow_the_resampling(record):
    fast = EcgRecord(np.repeat(record.signal, 2, axis=1), 720, ["MLII"])
    extractor = EcgFeatureExtractor(**BEATS | {"bandpass": None, "fir_taps": None, "normalization": "none"})
    slow = extractor(record, peaks=[800])["input_values"]
    near = extractor(fast, peaks=[1601])["input_values"]  # 800.5 at 360 Hz: rounded up
    assert np.corrcoef(near[0, 0, :-1], slow[0, 0, 1:])[0, 1] > 0.6 > np.corrcoef(near[0, 0], slow[0, 0])[0, 1]


def test_the_median_beat_of_the_recording_is_subtracted(record):
    settings = BEATS | {"reference": "record_median_beat"}
    beats = EcgFeatureExtractor(**settings | {"reference": "none"})(record, peaks=PEAKS)["input_values"]
    extractor = EcgFeatureExtractor(**settings)
    np.testing.assert_allclose(extractor(record, peaks=PEAKS)["input_values"], beats - np.median(beats, 0), atol=1e-7)
    known = extractor(record, peaks=PEAKS, reference_beat=beats[0])["input_values"]
    np.testing.assert_allclose(known, beats - beats[0], atol=1e-7)


def test_a_lead_without_signal_stays_zero_after_the_reference(record):
    signal = np.tile(record.signal[:1], (1, 1)).copy()
    signal[0, PEAKS[1] - 300 : PEAKS[1] + 300] = 0.1
    settings = BEATS | {"reference": "record_median_beat", "bandpass": None, "fir_taps": None}
    batch = EcgFeatureExtractor(**settings)(replace(record, signal=signal), peaks=PEAKS)
    hidden = ~np.asarray(batch["lead_mask"], dtype=bool)
    assert hidden.any()
    assert not np.asarray(batch["input_values"])[hidden].any()


@pytest.mark.parametrize(
    ("peaks", "message"),
    [
        (None, "without R peaks.*detect_r_peaks"),
        ([400, 300], "ascending.*400 is followed by 300"),
        ([400, 400], "ascending"),
        ([400, 3600], "from sample 400 to 3600; expected 0 to 3599"),
        ([-1, 400], "from sample -1"),
        ([1.5], "whole numbers"),
        ([10], "1 R peaks in 10 s and none with a complete beat"),
        ([], "0 R peaks"),
        ([[400], [800]], "peaks has 2 entries for 1 records"),
    ],
)
def test_unusable_peaks_are_refused(record, peaks, message):
    with pytest.raises(SignalError, match=message):
        EcgFeatureExtractor(**BEATS)(record, peaks=peaks)


def test_peaks_of_sliding_windows_are_refused(record):
    with pytest.raises(SignalError, match="peaks are for window='beats'"):
        EcgFeatureExtractor(lead_names=["MLII"], window_size=320, sampling_rate=360)(record, peaks=PEAKS)
    with pytest.raises(SignalError, match="reference is 'record_median_beat'"):
        EcgFeatureExtractor(**BEATS | {"reference": "record_median_beat"})(record, window="slide")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_after": 181}, "the sum window_size, 320"),
        ({"samples_after": None}, "expected two numbers"),
        ({"samples_before": None, "samples_after": None}, "window_mode='beats' is set without"),
        ({"fir_taps": 108}, "108 taps; expected an odd"),
        ({"bandpass": None}, "expected a band-pass in both directions"),
        ({"zero_phase": False}, "expected a band-pass in both directions"),
        ({"reference": "mean"}, "reference is 'mean'"),
    ],
)
def test_inconsistent_fields_are_refused(changes, message):
    with pytest.raises(SignalError, match=message):
        SignalContract(**BEATS | changes)


def test_the_contract_states_beats_filter_and_reference(record):
    text = EcgFeatureExtractor(**BEATS | {"reference": "record_median_beat"}).describe()
    assert "FIR of 109 taps, 3 Hz to 45 Hz, zero-phase" in text
    assert "140 before and 180 from each R peak" in text
    assert "then minus the median beat of the recording" in text
    explained = EcgFeatureExtractor(**BEATS).explain(record, peaks=PEAKS)
    assert "left out 2 of 5 beats" in explained
    assert "FIR of 109 taps" in explained


def test_each_new_field_enters_the_hash_of_its_step_only():
    usual = SignalContract(**BEATS)
    for step, changes in {
        "filter": {"fir_taps": 107},
        "window": {"samples_before": 139, "samples_after": 181},
        "normalize": {"reference": "record_median_beat"},
    }.items():
        other = SignalContract(**BEATS | changes)
        assert [name for name in usual.order if usual.hash([name]) != other.hash([name])] == [step]


def test_the_extractor_is_saved_with_its_beats(tmp_path, record):
    extractor = EcgFeatureExtractor(**BEATS | {"reference": "record_median_beat"})
    extractor.save_pretrained(tmp_path)
    loaded = EcgFeatureExtractor.from_pretrained(tmp_path)
    np.testing.assert_array_equal(
        loaded(record, peaks=PEAKS)["input_values"], extractor(record, peaks=PEAKS)["input_values"]
    )


def test_hashes_of_shipped_checkpoints_stay_the_same():
    saved = json.loads((Path(__file__).parent / "data" / "contract_hashes.json").read_text())
    hub = Path(__file__).parents[2] / "hub"
    assert saved
    for name, value in saved.items():
        assert AutoFeatureExtractor.from_pretrained(hub / name).contract_hash() == value, name


def test_a_stored_beat_is_one_window(record):
    settings = BEATS | {"normalization": "minmax_lead"}
    extractor = EcgFeatureExtractor(**settings)
    stamp = extractor.stamp(("leads", "units", "resample", "filter", "window"))
    raw = EcgFeatureExtractor(**settings | {"normalization": "none"})(record, peaks=PEAKS)["input_values"]
    beats = [EcgRecord(beat, 360, ["MLII"]) for beat in raw]
    cut = extractor(record, peaks=PEAKS)["input_values"]
    np.testing.assert_array_equal(extractor(beats, preprocessed_by=stamp)["input_values"], cut)
    with pytest.raises(SignalError, match="one window but has 3600 samples; expected 320"):
        extractor(record, preprocessed_by=stamp)
    compared = EcgFeatureExtractor(**settings | {"reference": "record_median_beat"})
    with pytest.raises(SignalError, match="not cut here"):
        compared(beats, preprocessed_by=stamp)
    known = compared(beats, preprocessed_by=stamp, reference_beat=[np.median(cut, axis=0)] * 3)["input_values"]
    np.testing.assert_array_equal(known, compared(record, peaks=PEAKS)["input_values"])
