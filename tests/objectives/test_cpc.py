"""The loss of contrastive predictive coding against the loop over anchors, closed forms and its negatives."""

import math

import pytest
import torch
from torch.nn import functional

from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import SignalError
from ecg_transformers.objectives import cpc
from ecg_transformers.objectives.cpc import cpc_loss, negative_records, negative_times, num_anchors, skip_target

RECORDS, STEPS, SIZE, OFFSET, NEGATIVES = 5, 17, 6, 3, 4
POSITIONS = STEPS - OFFSET


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def latents_and_predictions():
    return drawn(RECORDS, STEPS, SIZE).requires_grad_(), drawn(RECORDS, STEPS, SIZE, seed=1).requires_grad_()


def loop_over_anchors(predictions, latents, offset, times, records):
    """One anchor after the other, as the publication describes it; the sum over anchors, and the hits."""
    total, hits = 0.0, []
    for position in range(latents.shape[1] - offset):
        positive = latents[:, position + offset]
        negatives = latents[records[:, position], times[:, position]]
        candidates = torch.cat([positive[:, None], negatives], dim=1)
        scores = (candidates * predictions[:, position, None]).sum(dim=-1)
        total = total + functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
        hits.append((scores[:, 1:] < scores[:, :1]).all(dim=1))
    return total, torch.stack(hits).double().mean()


def draw(generator, steps, offset, count, everywhere):
    """Negatives as the model draws them: times, and records where they come from the whole batch."""
    anchors = num_anchors(steps, offset)
    times = negative_times(generator.uniform(anchors, count), offset)
    return times, negative_records(generator.uniform(anchors, count), generator.total_rows) if everywhere else None


def negatives(everywhere, records=RECORDS):
    return draw(RowGenerator(records, seed=3), STEPS, OFFSET, NEGATIVES, everywhere)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("budget", [1, 2**24])
def test_equals_the_loop_over_anchors(monkeypatch, everywhere, reduction, budget):
    monkeypatch.setattr(cpc, "CHUNK", budget)
    latents, predictions = latents_and_predictions()
    times, records = negatives(everywhere)
    result = cpc_loss(predictions, latents, OFFSET, times, records, reduction=reduction)
    own = torch.arange(RECORDS)[:, None, None].expand_as(times) if records is None else records
    total, accuracy = loop_over_anchors(predictions, latents, OFFSET, times, own)
    expected = total if reduction == "sum" else total / POSITIONS
    assert result.loss.item() == pytest.approx(expected.item(), abs=1e-12)
    assert result.accuracy.item() == pytest.approx(accuracy.item())
    for ours, loop in zip(
        torch.autograd.grad(result.loss, (predictions, latents)),
        torch.autograd.grad(expected, (predictions, latents)),
        strict=True,
    ):
        torch.testing.assert_close(ours, loop, rtol=0, atol=1e-12)


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_gradient_equals_finite_differences(everywhere):
    latents, predictions = (tensor[:2, :6].detach().requires_grad_() for tensor in latents_and_predictions())
    times, records = draw(RowGenerator(2, seed=0), 6, 2, 3, everywhere)
    assert torch.autograd.gradcheck(lambda c, e: cpc_loss(c, e, 2, times, records).loss, (predictions, latents))


def test_processes_with_gathered_latents_equal_one():
    latents, predictions = latents_and_predictions()
    times, records = negatives(everywhere=True)
    whole = cpc_loss(predictions, latents, OFFSET, times, records).loss
    parts = [
        cpc_loss(predictions[rows], latents[rows], OFFSET, times[rows], records[rows], columns=latents).loss
        for rows in (slice(0, 2), slice(2, 5))
    ]
    assert (0.4 * parts[0] + 0.6 * parts[1]).item() == pytest.approx(whole.item(), abs=1e-12)


def test_equal_latents_give_the_logarithm_of_the_count():
    latents = torch.ones(RECORDS, STEPS, SIZE)
    result = cpc_loss(latents, latents, OFFSET, negatives(False)[0])
    assert result.loss.item() == pytest.approx(math.log(1 + NEGATIVES), abs=1e-6)
    assert result.accuracy.item() == 0


@pytest.mark.parametrize("everywhere", [False, True])
def test_no_negative_is_at_the_time_of_the_positive_and_all_other_places_occur(everywhere):
    times, records = draw(RowGenerator(8, seed=0), STEPS, OFFSET, 2000, everywhere)
    target = torch.arange(POSITIONS) + OFFSET
    assert (times != target[None, :, None]).all()
    assert times.shape == (8, POSITIONS, 2000)
    share = functional.one_hot(times, STEPS).double().mean(dim=(0, 2))
    expected = torch.full((POSITIONS, STEPS), 1 / (STEPS - 1), dtype=torch.float64)
    expected[torch.arange(POSITIONS), target] = 0
    torch.testing.assert_close(share, expected, rtol=0, atol=0.01)
    if everywhere:
        assert functional.one_hot(records, 8).double().mean(dim=(0, 1, 2)).tolist() == pytest.approx(
            [0.125] * 8, abs=0.01
        )
    else:
        assert records is None


def test_a_row_draws_the_same_negatives_in_its_process():
    whole, own = RowGenerator(8, seed=0), RowGenerator(3, seed=0, first_row=5, total_rows=8)
    for ours, all_of_them in zip(
        draw(own, STEPS, OFFSET, 9, True),
        draw(whole, STEPS, OFFSET, 9, True),
        strict=True,
    ):
        assert torch.equal(ours, all_of_them[5:])


def test_raw_numbers_skip_the_time_of_the_positive():
    raw = torch.tensor([[[0, 1, 2], [0, 1, 2]]])
    assert skip_target(raw, 1).tolist() == [[[0, 2, 3], [0, 1, 3]]]


@pytest.mark.parametrize("offset", [0, STEPS, STEPS + 3])
def test_an_offset_beyond_the_tokens_is_refused(offset):
    latents, predictions = latents_and_predictions()
    with pytest.raises(SignalError, match=f"{offset}.*{STEPS}"):
        cpc_loss(predictions, latents, offset, torch.zeros(RECORDS, 1, 1, dtype=torch.long))
    with pytest.raises(SignalError, match=f"{offset}.*{STEPS}"):
        num_anchors(STEPS, offset)


def test_half_precision_is_computed_in_float32():
    latents, predictions = (tensor.detach().bfloat16() for tensor in latents_and_predictions())
    times, records = negatives(everywhere=True)
    for own in (None, records):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = cpc_loss(predictions, latents, OFFSET, times, own).loss
        assert loss.dtype == torch.float32
        expected = cpc_loss(predictions.double(), latents.double(), OFFSET, times, own).loss
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
