"""NT-Xent against recordings of ecg-selfsupervised, a written-out loop, closed forms and two processes."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.nn.functional import normalize

from ecg_transformers.errors import CheckpointError
from ecg_transformers.objectives.gather import all_gather, gather_with_gradient, process_slice
from ecg_transformers.objectives.ntxent import nt_xent, published_nt_xent
from ecg_transformers.objectives.selection import SelectionRule

from ..two_processes import run_in_two_processes

FIXTURES = Path(__file__).parents[1] / "parity" / "data" / "ecg_selfsupervised"
# Of the largest value; recorded in float32.
LOSS = 2e-7
GRADIENT = 5e-7


@pytest.fixture(scope="module")
def recorded():
    return load_file(FIXTURES / "simclr.safetensors")


def case_of(recorded, case):
    views = torch.stack([recorded[f"{case}/z1"], recorded[f"{case}/z2"]], dim=1).requires_grad_()
    return views, recorded[f"{case}/temperature"].item()


def near(result, expected, tolerance=LOSS):
    assert result.shape == expected.shape
    difference = (result.detach().double() - expected.double()).abs().max().item()
    assert difference <= tolerance * expected.abs().max().item()


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("form", ["intended", "official"])
def test_both_forms_with_gradients(recorded, case, form):
    views, temperature = case_of(recorded, case)
    loss = nt_xent(views, temperature).loss if form == "intended" else published_nt_xent(views, temperature)
    near(loss, recorded[f"{case}/loss_{form}"])
    loss.backward()
    for view in range(2):
        near(views.grad[:, view], recorded[f"{case}/grad_z{view + 1}_{form}"], GRADIENT)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_accuracy_of_the_second_view(recorded, case):
    views, temperature = case_of(recorded, case)
    assert nt_xent(views, temperature).accuracy.item() == pytest.approx(recorded[f"{case}/accuracy"].item())


def test_columns_of_all_processes(recorded):
    views = torch.stack([recorded["gather/z1"], recorded["gather/z2"]], dim=1)
    losses = []
    for rank in range(2):
        loss = published_nt_xent(views[4 * rank : 4 * rank + 4], 0.5, columns=views)
        near(loss, recorded[f"gather/rank{rank}_loss_official"])
        losses.append(nt_xent(views[4 * rank : 4 * rank + 4], 0.5, columns=views, first_record=4 * rank).loss)
    near(published_nt_xent(views, 0.5), recorded["gather/single_process_loss_official"])
    assert torch.stack(losses).mean().item() == pytest.approx(nt_xent(views, 0.5).loss.item(), abs=1e-6)


def unit(*shape, seed=0, dtype=torch.float64):
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return normalize(drawn, dim=-1).to(dtype)


def written_out(views, temperature, sources=None, same_source="ignore"):
    """Each pair of views of a record against all rows of other records, one by one."""
    records, count, _ = views.shape
    losses = []
    for record in range(records):
        for view in range(count):
            for partner in range(count):
                if partner == view:
                    continue
                numerator = math.exp(float(views[record, view] @ views[record, partner]) / temperature)
                denominator = numerator
                for other in range(records):
                    if other == record:
                        continue
                    alike = sources is not None and sources[other] == sources[record] != -1
                    for third in range(count):
                        value = math.exp(float(views[record, view] @ views[other, third]) / temperature)
                        if alike and same_source == "positive":
                            numerator += value
                        if not (alike and same_source == "exclude"):
                            denominator += value
                losses.append(-math.log(numerator / denominator))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("same_source", ["ignore", "exclude", "positive"])
@pytest.mark.parametrize(("records", "count"), [(1, 2), (5, 2), (4, 3), (3, 4)])
def test_equals_the_written_out_sum(records, count, same_source, temperature):
    views = unit(records, count, 6)
    sources = torch.tensor([3, 3, -1, -1, 4][:records])
    result = nt_xent(views, temperature, sources=sources, rule=SelectionRule(same_source=same_source))
    expected = written_out(views, temperature, sources.tolist(), same_source)
    assert result.loss.item() == pytest.approx(expected, abs=1e-12)


def test_a_temperature_of_one_makes_both_forms_equal():
    views = unit(20, 2, 8)
    assert published_nt_xent(views, 1.0).item() == pytest.approx(nt_xent(views, 1.0).loss.item(), abs=1e-5)


def test_the_order_of_the_records_changes_nothing():
    views, order = unit(20, 2, 8), torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert nt_xent(views[order], 0.2).loss.item() == pytest.approx(nt_xent(views, 0.2).loss.item(), abs=1e-12)


def test_equal_vectors_give_the_logarithm_of_the_count():
    views = unit(1, 1, 8).expand(6, 2, 8)
    assert nt_xent(views, 0.2).loss.item() == pytest.approx(math.log(11), abs=1e-12)


def test_a_record_without_others_has_no_loss():
    alone = unit(1, 2, 8).requires_grad_()
    result = nt_xent(alone, 0.2)
    assert result.loss.item() == 0
    result.loss.backward()
    assert not alone.grad.any()
    patient = nt_xent(unit(4, 2, 8), 0.2, sources=torch.full((4,), 7), rule=SelectionRule(same_source="exclude"))
    assert patient.loss.item() == 0


def test_gradients_flow_into_gathered_columns():
    views = unit(4, 2, 6).requires_grad_()
    whole = torch.autograd.grad(nt_xent(views, 0.5).loss, views)[0]
    halves = sum(
        nt_xent(views[2 * rank : 2 * rank + 2], 0.5, columns=views, first_record=2 * rank).loss for rank in range(2)
    )
    torch.testing.assert_close(torch.autograd.grad(halves / 2, views)[0], whole, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda rows: nt_xent(rows, 0.3).loss, (views,))


def test_half_precision_similarities_are_float32():
    views = unit(64, 2, 16, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = nt_xent(views, 0.1)
    assert result.loss.dtype == torch.float32
    assert result.loss.item() == pytest.approx(nt_xent(views.double(), 0.1).loss.item(), abs=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert published_nt_xent(views, 0.5).dtype == torch.float32


def test_the_most_similar_views_of_other_records_join_the_numerator():
    views = unit(5, 2, 6)
    result = nt_xent(views, 0.2, rule=SelectionRule("srcl", num_extra_positives=2))
    rows = views.flatten(0, 1)
    expected = []
    for row in range(10):
        weights = [math.exp(float(rows[row] @ other) / 0.2) for other in rows]
        strangers = sorted((weights[j] for j in range(10) if j // 2 != row // 2), reverse=True)
        partner = weights[row ^ 1]
        expected.append(-math.log((partner + sum(strangers[:2])) / (partner + sum(strangers))))
    assert result.loss.item() == pytest.approx(sum(expected) / 10, abs=1e-12)
    assert result.num_positives == 2
    with pytest.raises(CheckpointError, match="neither patient_ids"):
        nt_xent(views, 0.5, rule=SelectionRule(same_source="exclude"))


def both_ranks_equal_the_combined_batch(rank):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 4)).double()
    single = copy.deepcopy(network)
    records, sources = unit(8, 2, 6), torch.tensor([0, 0, 1, -1, 2, 0, -1, 2])
    for same_source in ("ignore", "exclude", "positive"):
        rule = SelectionRule(same_source=same_source)
        views = normalize(network(process_slice(records)), dim=-1)
        result = nt_xent(
            views,
            0.2,
            columns=gather_with_gradient(views),
            first_record=4 * rank,
            sources=process_slice(sources),
            column_sources=sources,
            rule=rule,
        )
        gradients = torch.autograd.grad(result.loss, list(network.parameters()))
        whole = nt_xent(normalize(single(records), dim=-1), 0.2, sources=sources, rule=rule)
        torch.testing.assert_close(all_gather(result.loss.detach()[None]).mean(), whole.loss, rtol=0, atol=1e-12)
        torch.testing.assert_close(all_gather(result.accuracy[None]).mean(), whole.accuracy)
        expected = torch.autograd.grad(whole.loss, list(single.parameters()))
        for gradient, value in zip(gradients, expected, strict=True):
            # As DDP: the mean over processes.
            dist.all_reduce(gradient)
            torch.testing.assert_close(gradient / 2, value, rtol=0, atol=1e-12)


def test_two_processes_equal_one():
    run_in_two_processes(both_ranks_equal_the_combined_batch)
