import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_transformers.errors import LeadError, SignalError
from ecg_transformers.signals import leads as module
from ecg_transformers.signals.leads import (
    STANDARD_LEADS,
    canonical_lead,
    canonical_leads,
    derive_limb_leads,
    lead_indices,
)


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("AVR", "aVR"),
        ("avf", "aVF"),
        (" V 6 ", "V6"),
        ("Lead II", "II"),
        ("lead-iii", "III"),
        ("DI", "I"),
        ("dii", "II"),
        ("DIII", "III"),
        ("LEAD_V3", "V3"),
        ("II lead", "II"),
        ("ECG I", "I"),
        ("EKG_aVR", "aVR"),
        ("ECG Lead V1", "V1"),
        ("ekg mlii", "MLII"),
        ("mlii", "MLII"),
        ("v4r", "V4R"),
    ],
)
def test_spellings_of_one_lead_are_one_name(written, canonical):
    assert canonical_lead(written) == canonical


@pytest.mark.parametrize("name", ["MLII", "ML5", "X", "Y", "Z", "ECG", "ECG1", "V", "MCL1", "vx", "-aVR", "lead"])
def test_other_leads_keep_their_own_names(name):
    assert canonical_lead(name) not in STANDARD_LEADS


def test_an_inverted_lead_is_not_the_lead():
    assert canonical_leads(["aVR", "-aVR"]) == ("aVR", "-aVR")


@pytest.mark.parametrize("name", ["", "  ", None, 1])
def test_a_name_that_is_no_text_is_refused(name):
    with pytest.raises(LeadError):
        canonical_lead(name)


def test_two_spellings_of_one_lead_are_refused_with_both():
    with pytest.raises(LeadError, match=r"II.*'DII'.*'lead ii'"):
        canonical_leads(["I", "DII", "lead ii"])
    with pytest.raises(LeadError, match="list of names"):
        canonical_leads("II")


def test_indices_follow_the_wish_and_name_what_is_missing():
    assert lead_indices(["V1", "lead i", "II"], ["II", "I"]) == [2, 1]
    with pytest.raises(LeadError, match="V5"):
        lead_indices(["I", "II"], ["I", "V5"])


@given(st.integers(1, 40), st.permutations(range(12)), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_derived_limb_leads_obey_einthoven_and_goldberger(samples, order, seed):
    one, two = np.random.default_rng(seed).normal(size=(2, samples))
    signal, names, derived = derive_limb_leads(np.stack([one, two]), ["I", "II"])
    lead = dict(zip(names, signal, strict=True))
    assert derived == ("III", "aVR", "aVL", "aVF")
    np.testing.assert_allclose(lead["I"] + lead["III"], lead["II"])
    np.testing.assert_allclose(lead["aVR"] + lead["aVL"] + lead["aVF"], 0, atol=1e-12)
    np.testing.assert_allclose(lead["aVL"], (lead["I"] - lead["III"]) / 2, atol=1e-12)
    np.testing.assert_allclose(lead["aVF"], (lead["II"] + lead["III"]) / 2, atol=1e-12)
    shuffled = [STANDARD_LEADS[index] for index in order]
    again, kept, none = derive_limb_leads(np.zeros((12, samples)), shuffled)
    assert kept == tuple(shuffled)
    assert none == ()
    assert again.shape == (12, samples)


def test_derived_leads_of_a_real_record_are_the_recorded_ones(ptbxl_records):
    record = ptbxl_records[0]
    signal, names, _ = derive_limb_leads(record.select(["I", "II"]).signal, ["I", "II"])
    np.testing.assert_allclose(signal, record.select(names).signal, atol=0.0021)


def test_nothing_is_derived_without_both_leads_and_batches_are_derived_at_once():
    _, names, derived = derive_limb_leads(np.zeros((2, 5)), ["II", "III"])
    assert (names, derived) == (("II", "III"), ())
    batch = np.random.default_rng(0).normal(size=(3, 2, 7)).astype(np.float32)
    signal, _, _ = derive_limb_leads(batch, ["II", "I"])
    assert signal.shape == (3, 6, 7)
    assert signal.dtype == np.float32
    with pytest.raises(SignalError, match="2 leads"):
        derive_limb_leads(batch[:, :1], ["I", "II"])


def test_a_message_lists_the_first_of_many_leads():
    many = [f"s{k}" for k in range(1000)]
    with pytest.raises(LeadError, match=r"found leads s0, .*, s15 \.\.\. \(1000\); V1 is missing") as caught:
        lead_indices(many, ["V1"])
    assert len(str(caught.value)) < 400
