"""The batch as a dictionary of keys, alone and with a queue."""

import math

import torch
from torch.nn.functional import cross_entropy, normalize

from ecg_transformers.objectives.dictionary import batch_dictionary
from ecg_transformers.objectives.infonce import info_nce
from ecg_transformers.objectives.queue import KeyQueue
from ecg_transformers.objectives.selection import SelectionRule
from ecg_transformers.objectives.sources import same_source


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def mean_loss(queries, keys, own_rows, dictionary):
    result = info_nce(
        queries, keys[own_rows], dictionary.candidates, 0.2, SelectionRule(), left_out=dictionary.left_out
    )
    return result.losses.mean()


def test_is_the_cross_entropy_over_all_keys_with_the_label_of_the_own():
    queries, keys, rows = unit(4, 6), unit(12, 6, seed=1), torch.arange(4, 8)
    ours = mean_loss(queries, keys, rows, batch_dictionary(keys, rows))
    torch.testing.assert_close(ours, cross_entropy(queries @ keys.T / 0.2, rows), rtol=0, atol=1e-12)


def test_equal_vectors_give_the_scale_of_moco_v3():
    """Both terms with their factor `2 T`: 2 * 0.4 * ln 8; the factor is 2 at temperature 1."""
    vectors, rows = unit(1, 6).expand(8, 6), torch.arange(8)
    dictionary = batch_dictionary(vectors, rows)
    total = sum(2 * 0.2 * mean_loss(vectors, vectors, rows, dictionary) for _ in range(2))
    assert math.isclose(total.item(), 2 * 0.4 * math.log(8), abs_tol=1e-12)


def test_keys_of_a_queue_follow_those_of_the_batch():
    queue = KeyQueue(6, 16).double()
    queue.enqueue(unit(5, 6, seed=3), torch.tensor([1, 2, 3, 4, 5]))
    keys, rows = unit(4, 6, seed=1), torch.arange(4)
    dictionary = batch_dictionary(keys, rows, torch.tensor([1, 9, -1, 8]), queue)
    assert dictionary.candidates.shape == (6, 20)
    assert dictionary.sources.tolist() == [1, 9, -1, 8, 1, 2, 3, 4, 5, *[-1] * 11]
    assert torch.equal(dictionary.left_out[:, :4], torch.eye(4, dtype=torch.bool))
    assert not dictionary.left_out[:, 4:].any()
    same = same_source(torch.tensor([1, 9, -1, 8]), dictionary.sources)
    assert same.nonzero().tolist() == [[0, 0], [0, 4], [1, 1], [3, 3]]
    # A row's own key is left out of the candidates, also where its source is a positive.
    result = info_nce(
        unit(4, 6), keys, dictionary.candidates, 0.2, SelectionRule(same_source="positive"),
        same_source=same, left_out=dictionary.left_out,
    )  # fmt: skip
    assert result.positive_mask.nonzero().tolist() == [[0, 4]]


def test_the_queue_may_be_overwritten_before_the_backward_pass():
    queue = KeyQueue(6, 16).double()
    queries, keys, rows = unit(4, 6).requires_grad_(), unit(4, 6, seed=1), torch.arange(4)
    loss = mean_loss(queries, keys, rows, batch_dictionary(keys, rows, None, queue))
    queue.enqueue(keys)
    loss.backward()
    assert queries.grad.isfinite().all()


def test_a_batch_of_one_without_queue_has_no_loss():
    keys, rows = unit(1, 6), torch.arange(1)
    assert mean_loss(unit(1, 6, seed=1), keys, rows, batch_dictionary(keys, rows)).item() == 0
