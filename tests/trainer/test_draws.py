import numpy as np

from ecg_transformers.hashing import integer_hash
from ecg_transformers.trainer.draws import step_seed, window_starts


def test_hash_depends_on_every_value_and_their_order():
    rows = {int(integer_hash(*values)) for values in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 1, 0))}
    assert len(rows) == 6


def test_hash_of_an_array_is_that_of_its_numbers():
    mixed = integer_hash(3, np.arange(5))
    assert [int(integer_hash(3, number)) for number in range(5)] == mixed.tolist()


def test_hash_spreads_evenly():
    counts = np.bincount((integer_hash(0, np.arange(16_000)) % np.uint64(16)).astype(int), minlength=16)
    assert abs(counts - 1000).max() < 150


def test_every_step_micro_step_stream_and_seed_has_a_seed_of_its_own():
    keys = [(0, 5, 0), (1, 5, 0), (0, 6, 0), (0, 5, 1)]
    seeds = [step_seed(*key) for key in keys] + [step_seed(0, 5, 0, stream="evaluate")]
    assert len(set(seeds)) == 5
    assert step_seed(0, 5, 0) == seeds[0]


def test_window_starts_are_a_pure_function_within_the_record():
    lengths = np.array([100, 150, 1000, 80])
    ids = np.array([7, 8, 9, 10])
    starts = np.stack([window_starts(0, epoch, ids, lengths, 100) for epoch in range(200)])
    assert (starts >= 0).all()
    assert (starts <= np.maximum(lengths - 100, 0)).all()
    assert (starts[:, [0, 3]] == 0).all()
    assert len(set(starts[:, 2].tolist())) > 150
    assert np.array_equal(window_starts(0, np.array([3, 3]), ids[1:3], lengths[1:3], 100), starts[3, 1:3])
