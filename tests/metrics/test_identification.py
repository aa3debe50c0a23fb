"""Identification of patients: recorded assignments, the interval over patients, paired differences, refusals."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from ecg_transformers.errors import EcgError
from ecg_transformers.metrics.bootstrap import bootstrap, compare
from ecg_transformers.metrics.identification import identification_accuracy, identified, nearest_in_gallery


@pytest.fixture(scope="module")
def recorded(recorded_metrics):
    return load_file(recorded_metrics.parent / "w2v_cmsc_rlm" / "arcface_unit.safetensors")


def problem(count=60, noise=1.0, seed=0):
    generator = np.random.default_rng(seed)
    gallery = generator.normal(size=(count, 8))
    return gallery, gallery * 3 + noise * generator.normal(size=(count, 8)), np.arange(count)


def test_assignment_is_that_of_a_loop_whatever_the_lengths():
    gallery, probes, patients = problem()
    cosines = [[g @ p / np.linalg.norm(g) / np.linalg.norm(p) for g in gallery] for p in probes]
    assert nearest_in_gallery(gallery, probes).tolist() == [int(np.argmax(row)) for row in cosines]
    scale = np.random.default_rng(1).uniform(0.1, 9, (60, 1))
    np.testing.assert_array_equal(nearest_in_gallery(gallery * scale, probes), nearest_in_gallery(gallery, probes))
    hits = identified(gallery, probes[:40], patients, patients[:40])
    assert hits.shape == (40, 1)
    assert hits.mean() == np.mean([int(np.argmax(row)) == number for number, row in enumerate(cosines[:40])])


def test_interval_is_over_patients_and_differences_are_paired():
    gallery, probes, patients = problem(noise=4.0)
    hits = identified(gallery, probes, patients, patients)
    ones = np.ones_like(hits)
    interval = bootstrap(ones, hits, metric="identification_accuracy", patient_ids=patients, resamples=500)
    assert interval.value == hits.mean()
    # The deviation of a share of 60.
    deviation = np.sqrt(hits.mean() * (1 - hits.mean()) / 60)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)
    assert interval.unit == "patient"
    worse = hits.copy()
    worse[:6] = 0
    lost = hits[:6].mean() * 6 / 60
    difference = compare(ones, hits, worse, metric="identification_accuracy", resamples=500)
    assert difference.value == pytest.approx(lost)
    assert 0 <= difference.low <= lost <= difference.high
    same = compare(ones, hits, hits, metric="identification_accuracy", resamples=50)
    assert (same.low, same.high) == (0.0, 0.0)
    weights = np.array([[2, 0], [0, 1], [1, 1]])
    np.testing.assert_allclose(
        identification_accuracy(np.ones((3, 1)), np.array([[1.0], [0.0], [1.0]]), weights=weights), [[1.0], [0.5]]
    )


@pytest.mark.parametrize(
    ("gallery", "probes", "fact"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "one size"),
        (np.zeros((2, 3)), np.ones((2, 3)), "zero or not finite"),
        (np.ones((2, 3)), np.full((2, 3), np.nan), "zero or not finite"),
        (np.ones(3), np.ones((2, 3)), "expected"),
    ],
)
def test_what_has_no_direction_is_refused(gallery, probes, fact):
    with pytest.raises(EcgError, match=fact):
        nearest_in_gallery(gallery, probes)


def test_patients_must_be_known():
    gallery, probes, patients = problem(4)
    with pytest.raises(EcgError, match="not in the gallery, first 9"):
        identified(gallery, probes, patients, np.array([0, 1, 2, 9]))
    with pytest.raises(EcgError, match="one each"):
        identified(gallery, probes, patients[:3], patients)


def test_embeddings_are_compared_not_cosines_to_classes(recorded):
    """The case that tells the two published codes apart: .967 of the embeddings, .300 of the cosines to classes."""
    gallery, probes, patients = recorded["id.gallery"], recorded["id.probe"], np.arange(30)
    np.testing.assert_array_equal(nearest_in_gallery(gallery, probes), recorded["id.best_index"])
    assert identified(gallery, probes, patients, patients).mean() == pytest.approx(29 / 30)
    assert (recorded["id.best_index_class_cosine_variant"] == patients).mean() == pytest.approx(0.3)
