import numpy as np
import torch

from ecg_transformers.hashing import integer_hash
from ecg_transformers.trainer.draws import slice_draws, step_generator, window_starts


def test_hash_depends_on_every_value_and_their_order():
    rows = {int(integer_hash(*values)) for values in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 1, 0))}
    assert len(rows) == 6


def test_hash_of_an_array_is_that_of_its_numbers():
    mixed = integer_hash(3, np.arange(5))
    assert [int(integer_hash(3, number)) for number in range(5)] == mixed.tolist()


def test_hash_spreads_evenly():
    counts = np.bincount((integer_hash(0, np.arange(16_000)) % np.uint64(16)).astype(int), minlength=16)
    assert abs(counts - 1000).max() < 150


def test_generator_is_the_same_for_the_same_step_only():
    draws = [
        torch.rand(4, generator=step_generator(*key, stream=stream))
        for key, stream in (
            ((0, 5, 0), "train"),
            ((0, 5, 0), "train"),
            ((1, 5, 0), "train"),
            ((0, 6, 0), "train"),
            ((0, 5, 1), "train"),
            ((0, 5, 0), "evaluate"),
        )
    ]
    assert torch.equal(draws[0], draws[1])
    assert not any(torch.equal(draws[0], other) for other in draws[2:])


def test_generator_leaves_the_global_one_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    torch.rand(7, generator=step_generator(0, 0))
    assert torch.equal(torch.rand(3), expected)


def test_processes_take_consecutive_rows_and_the_whole_of_what_is_shared():
    draws = {"noise": torch.arange(12).view(6, 2), "order": torch.arange(6)}
    parts = [slice_draws(draws, ("order",), start=start, rows=3) for start in (0, 3)]
    assert torch.equal(torch.cat([part["noise"] for part in parts]), draws["noise"])
    assert all(torch.equal(part["order"], draws["order"]) for part in parts)


def test_window_starts_are_a_pure_function_within_the_record():
    lengths = np.array([100, 150, 1000, 80])
    ids = np.array([7, 8, 9, 10])
    starts = np.stack([window_starts(0, epoch, ids, lengths, 100) for epoch in range(200)])
    assert (starts >= 0).all()
    assert (starts <= np.maximum(lengths - 100, 0)).all()
    assert (starts[:, [0, 3]] == 0).all()
    assert len(set(starts[:, 2].tolist())) > 150
    assert np.array_equal(window_starts(0, np.array([3, 3]), ids[1:3], lengths[1:3], 100), starts[3, 1:3])
