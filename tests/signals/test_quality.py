"""Flat leads and missing samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.quality import (
    LeadGaps,
    amplitude_fault,
    amplitude_note,
    fill_gaps,
    find_gaps,
    flat_leads,
    how_taken,
    jump_fault,
    offset_finding,
    unit_fault,
    unlike_note,
    usual_amplitude,
)
from ecg_transformers.signals.synthesis import synthesize_record


def test_flat_leads_are_constant_ones_and_those_without_a_sample():
    signal = np.array([[0.0, 0.0, 0.0], [5.0, 5.0, np.nan], [0.0, 1.0, 0.0], [np.nan] * 3])
    assert flat_leads(signal).tolist() == [True, True, False, True]
    assert flat_leads(np.zeros((2, 0))).tolist() == [True, True]


def test_gaps_are_counted_per_lead():
    signal = np.zeros((3, 10))
    signal[1, [2, 3, 7]] = np.nan
    signal[2, 0] = np.inf
    assert find_gaps(signal) == [
        LeadGaps(lead=1, count=3, first=2, longest=2),
        LeadGaps(lead=2, count=1, first=0, longest=1),
    ]
    assert find_gaps(np.zeros((3, 10))) == []
    assert find_gaps(np.full((1, 3), 3e38, dtype=np.float32)) == []


@given(st.lists(st.booleans(), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_filled_signal_is_finite_and_keeps_what_was_there(missing):
    line = np.linspace(0, 1, len(missing))
    signal = np.where(missing, np.nan, line)[np.newaxis]
    filled = fill_gaps(signal, find_gaps(signal))
    assert np.isfinite(filled).all()
    there = ~np.array(missing)
    assert np.array_equal(filled[0, there], line[there])
    if there.any():
        first, last = np.flatnonzero(there)[[0, -1]]
        # A straight line is rebuilt between its known ends and held beyond them.
        np.testing.assert_allclose(filled[0], np.clip(line, line[first], line[last]), atol=1e-12)


BEATS = np.sin(np.arange(5000) / 20) ** 15 * np.linspace(0.4, 1.5, 12)[:, None]


@pytest.mark.parametrize(
    ("signal", "fault"),
    [
        (BEATS, None),
        (BEATS + np.linspace(-2000, 2000, 12)[:, None], None),
        (BEATS + np.where(np.arange(5000) == 99, 15, 0), None),
        (BEATS + np.where(np.arange(5000) == 99, 400, 0), " mV at sample 99 next to "),
        (BEATS + np.linspace(0, 80, 5000), None),
        (np.where(np.arange(5000) < 100, np.nan, BEATS), None),
        (BEATS * 0.04, None),
        (np.zeros((12, 5000)), None),
        (np.full((1, 5000), np.nan), None),
        (BEATS * 1e3, "units='uV'"),
        (BEATS * 200, "units='uV'"),
        (BEATS * 1e6, "units='nV'"),
        (BEATS / 1e3, "units='V'"),
        (np.where(np.arange(5000) < 100, np.nan, BEATS * 1e3), "units='uV'"),
        (BEATS[:, :90] * 1e3, "units='uV'"),
    ],
)
def test_values_that_cannot_be_millivolts_and_the_unit_they_may_have(signal, fault):
    found = amplitude_fault(signal.astype(np.float32), 500)
    assert found is None if fault is None else fault in found


@pytest.mark.parametrize(
    ("signal", "note", "cure"),
    [
        # In mV, taken as uV by mistake; in uV, taken as V.
        (BEATS / 1e3, "converted uV -> mV", "units='mV'?"),
        (BEATS * 1e6, "converted V -> mV", "units='uV'?"),
        (BEATS / 1e3, "converted 5 uV -> mV", "another unit?"),
        (BEATS * 1e3, "gain 2/mV set by the caller", "another gain=?"),
        (BEATS * 1e3, "the file does not name its leads", "units='uV'?"),
    ],
)
def test_the_unit_that_is_advised_is_that_of_the_values_as_they_were_given(signal, note, cure):
    assert amplitude_fault(signal.astype(np.float32), 500, [note]).endswith(cure)


def test_a_jump_is_found_beside_a_gap_and_reported_where_it_is_far_from_usual():
    signal = np.where(np.arange(5000) < 40, np.nan, BEATS)
    signal[3, 10:40] = 9999
    assert jump_fault(signal, STANDARD_LEADS).startswith("lead aVR has 9999 mV at sample 39 next to")
    signal[3, 10:40] = np.inf
    assert jump_fault(signal, STANDARD_LEADS) is None


@pytest.mark.parametrize("large", [3, 9])
def test_leads_of_another_unit_are_named_where_the_rest_is_an_ecg(large):
    signal = BEATS.copy()
    signal[:-large] /= 1000
    assert not usual_amplitude(signal, 500)
    note = unlike_note(signal, STANDARD_LEADS)
    assert note.startswith(f"implausible amplitude: {', '.join(STANDARD_LEADS[:-large])} move by 0.00")
    assert note.endswith("in another unit, or not connected")
    signal[0] = 0.5
    assert ": II, III" in unlike_note(signal, STANDARD_LEADS)
    # All too small is a fault of its own, and usual recordings have no note.
    assert [unlike_note(one, STANDARD_LEADS) for one in (BEATS, BEATS / 1000)] == [None, None]


def test_an_offset_counts_by_the_middle_of_the_leads_that_move():
    wave = np.sin(np.arange(500.0)) * np.ones((4, 1))
    assert offset_finding(wave + 1.2, "abcd") is None
    for offset, fault in (([0, 0, 0, 19], False), ([0, 0, -4, 4], True), ([0, 9, 9, 9], True), ([0, 0, 0, 30], True)):
        assert offset_finding(wave + np.array(offset)[:, None], "abcd")[1] == fault
    flat = np.where(np.arange(4)[:, None] < 2, 50.0, wave)
    assert offset_finding(flat, "abcd") is None
    # The offsets of I and II in record 05353 of PTB-XL: of two leads, one does not decide.
    assert not offset_finding(wave[:2] + np.array([[0.5], [1.76]]), "ab")[1]
    # Alone a lead may be of a recording that was never filtered; beside others that are not off it is a bad electrode.
    alone, others = wave[:1] + 1.76, np.vstack([wave[:2], np.full((1, 500), 9.0)])
    assert [offset_finding(alone, "a", others=one)[1] for one in (None, others, others + 5)] == [True, False, True]
    assert offset_finding(alone + 30, "a", others=others)[1]
    assert offset_finding(wave[:1], "a", others=others + 5) is None
    assert offset_finding(np.full((1, 10), np.nan), "a") is None


@pytest.mark.parametrize("others", [[9, 10, 11], range(6)])
@pytest.mark.parametrize("whole", [True, False])
def test_leads_in_another_unit_are_named_and_no_mark_is_advised(others, whole):
    signal = BEATS.copy()
    signal[list(others)] *= 1000
    if whole:
        signal[list(others)] = np.rint(signal[list(others)])
    found = amplitude_fault(signal, 500, leads=STANDARD_LEADS)
    assert f"leads {', '.join(STANDARD_LEADS[k] for k in others)} swing" in found
    assert "another unit?" in found
    assert "missing_value" not in found


@pytest.mark.parametrize(("samples", "advised"), [(1, False), (2, False), (10, True), (400, True)])
def test_a_mark_is_advised_only_where_its_value_repeats(samples, advised):
    signal = BEATS.copy()
    signal[4, 100 : 100 + samples] = -32.768
    found = amplitude_fault(signal, 500, leads=STANDARD_LEADS)
    assert found.startswith("lead aVL has -32.768 mV")
    assert ("missing_value=-32.768" in found) == advised
    assert "another unit" not in found


@pytest.mark.parametrize(
    ("scale", "notes"),
    [(1e-3, ["converted uV -> mV"]), (1.0, []), (1 / 200, ["gain 200/mV set by the caller"])],
)
def test_integers_that_wrapped_around_are_named(scale, notes):
    stored = np.rint(BEATS * 800).astype(np.int16).view(np.uint16)
    found = amplitude_fault(stored * scale, 500, notes)
    assert "jumps of about 65,536 counts" in found
    assert "units=" not in found


def test_a_message_says_how_values_became_millivolts():
    assert how_taken(["flat", "converted uV -> mV"]) == "(converted uV -> mV)"
    assert how_taken(["gain 200/mV set by the caller"]) == "(gain 200/mV set by the caller)"
    assert how_taken([]) == "is taken as millivolts"


def test_leads_in_two_units_are_not_cured_by_one_unit():
    signal = synthesize_record(duration=10, sampling_rate=100).signal * np.r_[np.full(7, 1000), np.ones(5)][:, None]
    assert "But 5 leads swing by a hundredth of it or less: are all in one unit?" in unit_fault(signal, 100)
    assert unit_fault(1000 * synthesize_record(duration=10, sampling_rate=100).signal, 100).endswith("units='uV'?")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("lead", "sample"), [(0, 0), (1, 450), (2, 999), (2, 1049)])
def test_a_signal_with_a_missing_sample_is_not_certainly_usual(value, lead, sample):
    """The largest lead is the last; the samples beyond its last whole piece of 2 s count, too."""
    signal = np.sin(np.arange(1050) / 8) * np.array([[0.4], [0.6], [0.8]])
    assert usual_amplitude(signal, 100)
    signal[lead, sample] = value
    assert not usual_amplitude(signal, 100)


def test_large_leads_among_leads_that_are_constant_between_spikes_are_not_usual():
    signal = np.sin(np.arange(1000) / 15) * np.full((12, 1), 4.0)
    signal[:7] = 0.0
    signal[:7, 500] = 0.1
    assert amplitude_note(signal, 100).startswith("implausible amplitude: half of the leads swing by 8.0 mV")
    assert not usual_amplitude(signal, 100)
    signal[:7] = signal[7:8] / 8
    assert amplitude_note(signal, 100) is None
    assert usual_amplitude(signal, 100)
