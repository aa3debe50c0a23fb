"""Balanced assignment against recordings of ecg-selfsupervised, a written-out iteration and two processes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import log_softmax, normalize

from ecg_transformers.objectives.gather import all_gather, process_slice
from ecg_transformers.objectives.sinkhorn import (
    EmbeddingQueue,
    assignment_codes,
    assignment_loss,
    code_entropy,
    normalize_prototypes,
    sinkhorn,
)

from ..two_processes import run_in_two_processes

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def written_out(scores, epsilon, iterations):
    """Caron et al. 2020, appendix A.1, without any care for overflow."""
    codes = (scores / epsilon).exp().T
    codes = codes / codes.sum()
    prototypes, records = codes.shape
    for _ in range(iterations):
        codes = codes / codes.sum(dim=1, keepdim=True) / prototypes
        codes = codes / codes.sum(dim=0, keepdim=True) / records
    return (codes / codes.sum(dim=0, keepdim=True)).T


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_recorded_codes(iterations):
    recorded = load_file(FIXTURES / "swav.safetensors")
    codes = sinkhorn(recorded["sinkhorn/scores"], iterations=iterations)
    expected = recorded[f"sinkhorn/codes_{iterations}"]
    assert float((codes - expected).abs().max()) <= 2e-6 * float(expected.max())


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_equals_the_written_out_iteration_for_each_crop(epsilon):
    scores = unit(9, 4) @ unit(6, 4, seed=1).T
    both = torch.stack([scores, scores.flip(0)])
    codes = sinkhorn(both, epsilon=epsilon, iterations=3)
    for crop in range(2):
        torch.testing.assert_close(codes[crop], written_out(both[crop], epsilon, 3), rtol=0, atol=1e-12)


def test_codes_of_a_record_sum_to_one_and_prototypes_are_used_evenly():
    codes = sinkhorn(unit(60, 4) @ unit(6, 4, seed=1).T, epsilon=0.5, iterations=50)
    torch.testing.assert_close(codes.sum(dim=-1), torch.ones(60, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(codes.sum(dim=0), torch.full((6,), 10.0, dtype=torch.float64), rtol=0, atol=1e-6)


def test_half_precision_scores_neither_overflow_nor_lose_the_sum():
    scores = (unit(60, 4) @ unit(6, 4, seed=1).T).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = sinkhorn(scores)
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes.double(), sinkhorn(scores.double()), rtol=0, atol=1e-6)
    # Where the published code gives infinities.
    assert sinkhorn(torch.full((4, 3), 100.0)).isfinite().all()


def test_no_gradient_and_at_least_one_iteration():
    assert not sinkhorn(unit(5, 4).requires_grad_()).requires_grad
    with pytest.raises(ValueError, match="iterations"):
        sinkhorn(unit(5, 4), iterations=0)


def test_codes_of_a_batch_behind_its_queue():
    prototypes, queue, embeddings = unit(6, 4), unit(8, 2, 4, seed=1), unit(3, 2, 4, seed=2)
    scores = embeddings @ prototypes.T
    alone = assignment_codes(scores)
    behind = assignment_codes(scores, queue, prototypes)
    assert alone.shape == behind.shape == (3, 2, 6)
    for crop in range(2):
        torch.testing.assert_close(alone[:, crop], written_out(scores[:, crop], 0.05, 3), rtol=0, atol=1e-12)
        whole = torch.cat([queue[:, crop] @ prototypes.T, scores[:, crop]])
        torch.testing.assert_close(behind[:, crop], written_out(whole, 0.05, 3)[-3:], rtol=0, atol=1e-12)


def test_new_embeddings_come_first_the_oldest_go_and_only_a_full_queue_counts():
    queue = EmbeddingQueue(8, 1, 1)
    rows = torch.arange(1.0, 12.0)[:, None, None]
    queue.push(rows[:3])
    assert queue.embeddings.flatten().tolist() == [1, 2, 3, 0, 0, 0, 0, 0]
    queue.push(rows[3:6])
    assert queue.share_of_process() is None
    # No multiple of the batch.
    queue.push(rows[6:9])
    assert queue.share_of_process().flatten().tolist() == [7, 8, 9, 4, 5, 6, 1, 2]
    queue.push(rows)
    assert queue.embeddings.flatten().tolist() == list(range(1, 9))
    assert queue.filled.item() == 8
    queue.reset_state()
    assert queue.share_of_process() is None
    assert not queue.embeddings.any()


@pytest.mark.parametrize("assigning", [1, 2])
def test_the_loss_equals_the_written_out_sum(assigning):
    scores, codes = unit(5, 4, 7), sinkhorn(unit(assigning, 5, 7, seed=1)).transpose(0, 1)
    terms = [
        -(codes[:, crop] * log_softmax(scores[:, view] / 0.1, dim=1)).sum(dim=1).mean()
        for crop in range(assigning)
        for view in range(4)
        if view != crop
    ]
    expected = torch.stack(terms).mean().item()
    assert assignment_loss(scores, codes, 0.1).item() == pytest.approx(expected, abs=1e-12)
    assert assignment_loss(scores, codes, 0.1, count_own=True).item() == pytest.approx(0.75 * expected, abs=1e-12)


def test_the_gradient_of_the_loss_and_half_precision():
    scores, codes = unit(3, 3, 5).requires_grad_(), sinkhorn(unit(2, 3, 5, seed=1)).transpose(0, 1)
    assert torch.autograd.gradcheck(lambda rows: assignment_loss(rows, codes, 0.1), (scores,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = assignment_loss(scores.bfloat16(), codes.float(), 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(assignment_loss(scores.bfloat16().double(), codes, 0.1).item(), abs=1e-5)


def test_entropy_of_codes():
    assert code_entropy(torch.eye(4)).item() == 0
    assert code_entropy(torch.full((3, 4), 0.25)).item() == pytest.approx(torch.tensor(4.0).log().item())


def test_prototypes_become_unit_vectors_in_place():
    weight = torch.nn.Parameter(3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    before = normalize(weight.detach(), dim=1)
    normalize_prototypes(weight)
    assert torch.equal(weight, before)
    assert weight.requires_grad


def codes_equal_those_of_the_combined_batch(rank):
    prototypes, queue, embeddings = unit(6, 4), unit(8, 2, 4, seed=1), unit(10, 2, 4, seed=2)
    own = process_slice(embeddings)
    codes = assignment_codes(own @ prototypes.T, process_slice(queue), prototypes)
    together = all_gather(codes)
    # The order of the columns does not matter to the iteration.
    expected = assignment_codes(embeddings @ prototypes.T, queue, prototypes)
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-12)


def test_two_processes_equal_one():
    run_in_two_processes(codes_equal_those_of_the_combined_batch)
