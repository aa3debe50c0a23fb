"""Synthetic recordings: lead algebra, rhythms, R peaks, repeatability."""

import numpy as np
import pytest

from ecg_transformers.errors import SignalError
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.synthesis import RHYTHMS, synthesize_record


def intervals(record):
    return np.diff(record.annotations.samples) / record.sampling_rate


def lead(record, name):
    return record.signal[record.leads.index(name)]


@pytest.mark.parametrize("rhythm", RHYTHMS)
@pytest.mark.parametrize("sampling_rate", [500, 100])
def test_every_rhythm_is_a_twelve_lead_recording_with_marks(rhythm, sampling_rate):
    record = synthesize_record(rhythm, sampling_rate=sampling_rate, seed=1)
    assert record.leads == STANDARD_LEADS
    assert record.signal.shape == (12, 10 * sampling_rate)
    assert record.signal.dtype == np.float32
    assert np.isfinite(record.signal).all()
    assert 0.1 < np.abs(record.signal).max() < 8
    assert record.labels == (rhythm,)
    assert 5 <= len(record.annotations) <= 30
    assert 20 <= record.age <= 90
    assert record.sex in ("female", "male")


def test_limb_leads_obey_einthoven_and_goldberger_noise_included():
    record = synthesize_record("SR", noise=0.1, seed=2)
    one, two = lead(record, "I"), lead(record, "II")
    expected = {"III": two - one, "aVR": -(one + two) / 2, "aVL": one - two / 2, "aVF": two - one / 2}
    for name, signal in expected.items():
        np.testing.assert_allclose(lead(record, name), signal, atol=1e-6)


def test_the_same_seed_gives_the_same_recording_and_another_one_another():
    first, again, other = (synthesize_record("AFIB", seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.signal, again.signal)
    assert np.array_equal(first.annotations.samples, again.annotations.samples)
    assert not np.array_equal(first.signal, other.signal)


def test_a_patient_keeps_anatomy_age_and_sex():
    one, two, other = (
        synthesize_record("SR", seed=seed, patient=patient, noise=0) for seed, patient in ((1, 9), (2, 9), (1, 8))
    )
    assert (one.patient_id, one.age, one.sex) == (two.patient_id, two.age, two.sex)
    sizes = [np.ptp(record.signal, axis=1) for record in (one, two, other)]
    assert np.abs(sizes[0] / sizes[1] - 1).max() < 0.25
    assert np.abs(sizes[0] / sizes[2] - 1).max() > 0.25


def test_heart_rates_are_those_of_the_rhythms():
    for rhythm, low, high in (("SR", 55, 100), ("SBRAD", 35, 60), ("STACH", 100, 150)):
        for seed in range(10):
            assert low < 60 / intervals(synthesize_record(rhythm, duration=20, seed=seed)).mean() < high
    assert abs(60 / intervals(synthesize_record("SR", duration=60, heart_rate=72)).mean() - 72) < 2


def test_fibrillation_is_irregular_and_sinus_rhythm_is_not():
    def variation(rhythm, seed):
        steps = intervals(synthesize_record(rhythm, duration=30, seed=seed))
        return steps.std() / steps.mean()

    assert max(variation("SR", seed) for seed in range(10)) < 0.08
    assert min(variation("AFIB", seed) for seed in range(10)) > 0.12


def test_marks_lie_on_the_r_peaks():
    record = synthesize_record("SR", noise=0, seed=5)
    largest = np.abs(record.signal).max(axis=0)
    for sample in record.annotations.samples[1:-1]:
        around = slice(sample - 60, sample + 61)
        assert abs(int(largest[around].argmax()) - 60) <= 15


def test_extrasystoles_are_early_wide_and_marked_v():
    record = synthesize_record("PVC", duration=60, noise=0, seed=6)
    symbols = np.array(record.annotations.symbols)
    assert set(symbols) == {"N", "V"}
    before = intervals(record)
    early = before[symbols[1:] == "V"]
    usual = before[(symbols[1:] == "N") & (symbols[:-1] == "N")]
    assert early.max() < 0.8 * usual.mean()
    assert "V" in synthesize_record("BIGU", seed=0).annotations.symbols


def test_bundle_branch_blocks_are_wide_and_look_as_they_should():
    for seed in range(5):
        left, right = (synthesize_record(code, noise=0, seed=seed) for code in ("LBBB", "RBBB"))
        assert (left.labels, right.labels) == (("CLBBB",), ("CRBBB",))
        for record, sign in ((left, -1), (right, 1)):
            middle = record.annotations.samples[3]
            late = lead(record, "V1")[middle + 15 : middle + 45]
            assert late[np.abs(late).argmax()] * sign > 0.1


def test_low_voltage_and_hypertrophy_change_the_size():
    for seed in range(5):
        size = {
            code: np.ptp(synthesize_record(code, noise=0, seed=seed).signal, axis=1).mean()
            for code in ("LVOLT", "SR", "LVH")
        }
        assert size["LVOLT"] < 0.5 * size["SR"]
        assert size["LVH"] > 1.3 * size["SR"]


def test_two_rates_show_the_same_heart():
    fast, slow = (synthesize_record("SR", sampling_rate=rate, noise=0, seed=7) for rate in (500, 100))
    np.testing.assert_allclose(fast.signal[:, ::5], slow.signal, atol=1e-4)


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(SignalError, match="Did you mean 'AFIB'"):
        synthesize_record("AFIBB")
    for wrong in ({"duration": 0}, {"heart_rate": 5}, {"noise": -1}, {"sampling_rate": 0}):
        with pytest.raises(SignalError):
            synthesize_record("SR", **wrong)
