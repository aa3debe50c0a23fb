"""The key queue: modular writing, sources, and what stays untouched."""

import torch
from torch.nn.functional import normalize

from ecg_transformers.objectives.queue import KeyQueue


def keys(count, seed=0):
    return normalize(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_starts_with_random_unit_columns_of_unknown_source():
    queue = KeyQueue(4, 10)
    torch.testing.assert_close(queue.keys.norm(dim=0), torch.ones(10))
    assert queue.sources.eq(-1).all()
    assert torch.equal(queue.keys, KeyQueue(4, 10).keys)


def test_a_length_that_the_batch_does_not_divide_is_written_in_a_ring():
    queue = KeyQueue(4, 10)
    written = [keys(4, seed) for seed in range(3)]
    for number, batch in enumerate(written):
        queue.enqueue(batch, torch.arange(4) + 4 * number)
    assert queue.pointer.item() == 2
    assert queue.filled.item() == 10
    assert torch.equal(queue.keys[:, [8, 9, 0, 1]].T, written[2])
    assert queue.sources.tolist() == [10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


def test_columns_that_no_key_has_replaced_are_known():
    queue = KeyQueue(4, 6)
    queue.enqueue(keys(2))
    assert queue.unfilled().tolist() == [False, False, True, True, True, True]
    queue.enqueue(keys(5))
    assert not queue.unfilled().any()


def test_half_precision_keys_are_stored_in_float32():
    queue = KeyQueue(4, 6)
    queue.enqueue(keys(2).bfloat16())
    assert queue.keys.dtype == torch.float32
