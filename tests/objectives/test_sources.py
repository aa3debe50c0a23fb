"""Numbers of sources: patients where known, recordings where not, and the two never meet."""

import torch

from ecg_transformers.objectives.sources import same_source, source_numbers


def test_a_row_without_patient_is_compared_by_its_record():
    patients = torch.tensor([7, 7, -1, -1, 0])
    records = torch.tensor([1, 2, 7, 0, 5])
    numbers = source_numbers(patients, records)
    same = same_source(numbers, numbers)
    expected = torch.eye(5, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = True
    assert torch.equal(same, expected)


def test_without_records_an_unknown_patient_is_nobody():
    numbers = source_numbers(torch.tensor([-1, -1, 3]), None)
    assert same_source(numbers, numbers).tolist() == [[False] * 3, [False] * 3, [False, False, True]]


def test_records_alone_are_compared_and_nothing_gives_nothing():
    numbers = source_numbers(None, torch.tensor([0, 1]))
    assert torch.equal(same_source(numbers, numbers), torch.eye(2, dtype=torch.bool))
    assert source_numbers(None, None) is None
