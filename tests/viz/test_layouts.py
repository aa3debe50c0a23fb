"""Which lead stands where."""

import itertools

import pytest

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.viz.layouts import arrange


def names(rows):
    return [[stretch.label for stretch in row] for row in rows]


def test_three_by_four_shows_consecutive_time_in_four_columns():
    rows = arrange(STANDARD_LEADS, layout="3x4", order="standard", duration=10.0)
    assert names(rows) == [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]]
    assert [(stretch.start, stretch.stop) for stretch in rows[1]] == [(0.0, 2.5), (2.5, 5.0), (5.0, 7.5), (7.5, 10.0)]
    assert rows[1][2].lead == STANDARD_LEADS.index("V2")


def test_rhythm_strip_is_lead_two_over_the_whole_time():
    strip = arrange(STANDARD_LEADS, layout="3x4+II", order="standard", duration=10.0)[-1]
    assert [(s.label, s.start, s.stop) for s in strip] == [("II", 0.0, 10.0)]


def test_cabrera_order_inverts_avr():
    rows = arrange(STANDARD_LEADS, layout="12x1", order="cabrera", duration=10.0)
    flat = [row[0] for row in rows]
    assert [stretch.label for stretch in flat[:6]] == ["aVL", "I", "\N{MINUS SIGN}aVR", "II", "aVF", "III"]
    assert [stretch.inverted for stretch in flat] == [False, False, True] + [False] * 9
    assert flat[2].lead == STANDARD_LEADS.index("aVR")


def test_twelve_by_one_keeps_the_place_of_an_absent_lead():
    rows = arrange(["V1", "II"], layout="12x1", order="standard", duration=10.0)
    assert len(rows) == 12
    assert [row[0].lead for row in rows] == [None, 1, None, None, None, None, 0, None, None, None, None, None]


def test_other_leads_follow_the_standard_ones():
    rows = arrange(["MLII", "V1", "X", "II", "Y"], layout="3x4", order="standard", duration=9.0)
    assert names(rows) == [["V1", "MLII"], ["II", "X"], ["Y"]]
    assert {stretch.lead for row in rows for stretch in row} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("layout", ["3x4", "3x4+II", "stacked"])
@pytest.mark.parametrize("count", range(1, 13))
def test_every_lead_is_shown_for_one_to_twelve_leads(layout, count):
    leads = STANDARD_LEADS[-count:]
    rows = arrange(leads, layout=layout, order="standard", duration=10.0)
    assert {stretch.lead for row in rows for stretch in row} == set(range(count))
    for row in rows:
        for before, after in itertools.pairwise(row):
            assert before.stop <= after.start


def test_up_to_three_leads_have_the_whole_time_each():
    rows = arrange(["MLII", "V1"], layout="3x4+II", order="standard", duration=10.0)
    assert [(s.label, s.start, s.stop) for row in rows for s in row] == [("V1", 0.0, 10.0), ("MLII", 0.0, 10.0)]


def test_unknown_words_and_a_page_without_standard_leads_are_errors():
    with pytest.raises(SignalError, match="2x6"):
        arrange(STANDARD_LEADS, layout="2x6", order="standard", duration=10.0)
    with pytest.raises(SignalError, match="alphabetic"):
        arrange(STANDARD_LEADS, layout="3x4", order="alphabetic", duration=10.0)
    with pytest.raises(LeadError, match="MLII"):
        arrange(["MLII"], layout="12x1", order="standard", duration=10.0)
