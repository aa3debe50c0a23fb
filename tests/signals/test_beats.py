"""R peaks: detection, refinement, comparison with annotations, cutting."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals import beats
from ecg_transformers.signals.beats import annotated_peaks, cut_beats, detect_r_peaks, match_peaks, refine_peaks
from ecg_transformers.signals.formats.readers import read_record
from ecg_transformers.signals.record import Annotations, EcgRecord

RECORD = Path(__file__).parents[1] / "data" / "mitdb" / "100"


@pytest.fixture(scope="module")
def record():
    return read_record(RECORD)


def hits(record, peaks):
    reference, _ = annotated_peaks(record)
    return (match_peaks(peaks, reference, record.sampling_rate) >= 0).sum(), len(reference)


def test_gqrs_finds_the_annotated_beats_at_their_peaks(record):
    peaks = detect_r_peaks(record)
    found, annotated = hits(record, peaks)
    assert found >= annotated - 1
    assert len(peaks) - found <= 1
    reference, _ = annotated_peaks(record)
    pairs = match_peaks(peaks, reference, record.sampling_rate)
    assert np.abs(peaks[pairs >= 0] - reference[pairs[pairs >= 0]]).max() <= 3


def test_marks_of_gqrs_lie_before_the_peak(record):
    early = detect_r_peaks(record, refine=False)
    assert np.median(detect_r_peaks(record) - early) == pytest.approx(0.036 * 360, abs=3)


def test_sleepecg_finds_the_annotated_beats(record):
    pytest.importorskip("sleepecg")
    found, annotated = hits(record, detect_r_peaks(record, method="sleepecg"))
    assert found >= annotated - 2


def test_absent_sleepecg_is_named_with_its_extra(record, monkeypatch):
    monkeypatch.setitem(sys.modules, "sleepecg", None)
    with pytest.raises(SignalError, match=r"pip install 'ecg-transformers\[beats\]'"):
        detect_r_peaks(record, method="sleepecg")


def test_missing_samples_hide_only_the_beats_in_them(record):
    signal = record.signal.copy()
    signal[0, 3000:3720] = np.nan
    peaks = detect_r_peaks(EcgRecord(signal, 360, record.leads))
    whole = detect_r_peaks(record)
    np.testing.assert_array_equal(peaks[peaks < 2900], whole[whole < 2900])
    assert not ((peaks >= 3000) & (peaks < 3720)).any()
    assert (peaks > 3720).sum() >= (whole > 3720).sum() - 1


@pytest.mark.parametrize("signal", [np.zeros(3600), np.full(3600, 0.3), np.full(3600, np.nan), np.ones(100)])
def test_a_flat_or_missing_or_very_short_lead_has_no_peaks(signal):
    assert detect_r_peaks(EcgRecord(signal[np.newaxis], 360, ["II"])).tolist() == []


def test_a_long_recording_is_searched_piece_by_piece(record, monkeypatch):
    whole = detect_r_peaks(record)
    lengths = []
    marks = beats._marks
    monkeypatch.setattr(beats, "_marks", lambda piece, *rest: lengths.append(len(piece)) or marks(piece, *rest))
    monkeypatch.setattr(beats, "BLOCK_SECONDS", 20.0)
    monkeypatch.setattr(beats, "LEAD_IN_SECONDS", 5.0)
    pieces = detect_r_peaks(record)
    assert max(lengths) <= 30 * 360
    assert len(lengths) > 1
    assert (match_peaks(pieces, whole, 360, seconds=0.01) >= 0).mean() > 0.97


def test_the_lead_is_named(record):
    assert len(detect_r_peaks(record, lead="V5")) > 0
    with pytest.raises(LeadError, match="MLII, V5 and no lead V1"):
        detect_r_peaks(record, lead="V1")
    with pytest.raises(SignalError, match="expected one of gqrs, sleepecg"):
        detect_r_peaks(record, method="pan")


def test_refined_marks_that_meet_become_one():
    signal = np.zeros(720)
    signal[360] = -1.0
    assert refine_peaks(signal, np.array([350, 365]), 360).tolist() == [360]


def test_pairs_are_mutually_nearest_and_close():
    reference = np.array([100, 200, 300, 1000])
    assert match_peaks(np.array([90, 104, 310, 700]), reference, 360).tolist() == [-1, 0, 2, -1]
    assert match_peaks(np.array([154]), np.array([100]), 360).tolist() == [0]
    assert match_peaks(np.array([155]), np.array([100]), 360).tolist() == [-1]
    assert match_peaks(np.array([], int), reference, 360).tolist() == []
    assert match_peaks(np.array([5]), np.array([], int), 360).tolist() == [-1]


def test_cut_beats_keep_peaks_symbols_and_what_was_dropped():
    marks = Annotations(np.array([50, 300, 305, 690]), ["+", "V", "~", "N"])
    record = EcgRecord(np.arange(720.0)[np.newaxis], 360, ["II"], annotations=marks)
    cut = cut_beats(record, np.array([20, 302, 500, 688]), 100, 150)
    assert cut.peaks.tolist() == [302, 500]
    assert cut.dropped.tolist() == [20, 688]
    assert cut.symbols == ["V", ""]
    assert (len(cut), cut.sampling_rate) == (2, 360)
    np.testing.assert_array_equal(cut.signals[:, 0, [0, -1]], [[202, 451], [400, 649]])


def test_beats_are_cut_at_another_rate():
    record = EcgRecord(np.sin(np.arange(7200) / 50)[np.newaxis], 720, ["II"])
    cut = cut_beats(record, np.array([2001]), 100, 150, resample_to=360)
    assert cut.signals.shape == (1, 1, 250)
    np.testing.assert_allclose(cut.signals[0, 0], record.signal[0, 1802:2302:2], atol=0.01)
