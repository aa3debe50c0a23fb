"""AUROC within patients and its bootstrap."""

import numpy as np
import pytest

from ecg_transformers.errors import EcgError
from ecg_transformers.metrics.bootstrap import bootstrap
from ecg_transformers.metrics.metrics import auroc
from ecg_transformers.metrics.patients import patient_auroc, patient_aurocs


@pytest.fixture
def beats():
    random = np.random.default_rng(0)
    patients = np.repeat([5, 3, 9, 7], 100)
    labels = (random.random(400) < 0.3).astype(np.int8)
    labels[patients == 7] = 0  # has no abnormal beat
    scores = random.normal(size=400) + labels + 100 * (patients == 3)
    return labels, scores, patients


def test_patients_count_alike_and_only_with_beats_of_both_kinds(beats):
    labels, scores, patients = beats
    values = patient_aurocs(labels, scores, patients)
    assert sorted(values) == [3, 5, 9]
    for patient, value in values.items():
        own = patients == patient
        assert value == auroc(labels[own], scores[own])[0]
    assert auroc(labels, scores)[0] < min(values.values())  # patient 3 has higher scores of all kinds
    found = bootstrap(labels[:, None], scores[:, None], metric=patient_auroc(patients), patient_ids=patients)
    assert found.value == pytest.approx(np.mean(list(values.values())))
    assert found.low < found.value < found.high


def test_a_resample_weighs_each_patient_by_its_draws(beats):
    labels, scores, patients = beats
    values = patient_aurocs(labels, scores, patients)
    times = {5: 2, 3: 0, 9: 1, 7: 1}
    weights = np.array([times[patient] for patient in patients.tolist()])[:, None]
    found = patient_auroc(patients)(labels[:, None], scores[:, None], weights=weights)
    assert found[0, 0] == pytest.approx((2 * values[5] + values[9]) / 3)
    none = patient_auroc(patients)(labels[:, None], scores[:, None], weights=(patients == 7).astype(int)[:, None])
    assert np.isnan(none).all()


def test_ten_beats_of_each_kind_are_needed():
    labels = np.array([1] * 9 + [0] * 50)
    assert patient_aurocs(labels, np.arange(59.0), np.zeros(59, int)) == {}
    with pytest.raises(EcgError):
        bootstrap(labels[:, None], np.arange(59.0)[:, None], metric=patient_auroc(np.zeros(59, int)))
