"""SRCL, N-Sam and DS against a written-out loop, closed forms and each other."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from ecg_transformers.errors import CheckpointError
from ecg_transformers.objectives.infonce import info_nce
from ecg_transformers.objectives.selection import SelectionRule, select_keys
from ecg_transformers.objectives.sources import same_source


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def draw(seed=0, batch=4, candidates=20, size=6):
    return unit(batch, size, seed=seed), unit(batch, size, seed=seed + 1000), unit(candidates, size, seed=seed + 2000).T


def losses(data, rule, temperature=0.2, **masks):
    return info_nce(*data, temperature, rule, **masks).losses


PLAIN = SelectionRule()


def written_out(data, rule, temperature, same, left_out):
    """Losses, positives and kept candidates, one query after the other."""
    queries, keys, candidates = data
    result = []
    for i in range(len(queries)):
        there = [j for j in range(candidates.shape[1]) if not left_out[i, j]]
        if rule.same_source == "exclude":
            there = [j for j in there if not same[i, j]]
        of_source = [j for j in there if same[i, j]] if rule.same_source == "positive" else []
        judge = queries[i] if rule.select_by == "query" else keys[i]
        others = sorted((j for j in there if j not in of_source), key=lambda j: (-float(judge @ candidates[:, j]), j))
        positives, kept = list(of_source), list(there)
        if rule.sampling == "srcl":
            positives += others[: rule.num_extra_positives]
        elif rule.sampling == "ds":
            top = others[: rule.num_extra_positives]
            positives += [
                j for j in top if rule.ds_mode == "schedule" or float(judge @ candidates[:, j]) >= rule.ds_threshold
            ]
        elif rule.sampling == "n_sam":
            last = None if rule.n_sam_keep is None else rule.n_sam_drop + rule.n_sam_keep
            kept = of_source + others[rule.n_sam_drop : last]
        weights = {j: math.exp(float(queries[i] @ candidates[:, j]) / temperature) for j in there}
        own = math.exp(float(queries[i] @ keys[i]) / temperature)
        total = own + sum(weights[j] for j in kept)
        if rule.reduction == "sum_in_log":
            loss = -math.log((own + sum(weights[j] for j in positives)) / total)
        elif rule.reduction == "sum_of_logs":
            rest = sum(weights[j] for j in kept if j not in positives)
            loss = -sum(math.log(w / (w + rest)) for w in [own, *(weights[j] for j in positives)])
        else:
            loss = -sum(math.log(w / total) for w in [own, *(weights[j] for j in positives)]) / (1 + len(positives))
        result.append((loss, set(positives), set(kept)))
    return result


@pytest.mark.parametrize("reduction", ["sum_in_log", "mean_of_logs", "sum_of_logs"])
@pytest.mark.parametrize("sources", ["ignore", "exclude", "positive"])
@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": "none"},
        {"sampling": "srcl", "num_extra_positives": 3, "select_by": "key"},
        {"sampling": "srcl", "num_extra_positives": 40},
        {"sampling": "n_sam", "n_sam_drop": 2},
        {"sampling": "n_sam", "n_sam_drop": 2, "n_sam_keep": 3},
        {"sampling": "n_sam", "n_sam_drop": 0, "n_sam_keep": 1, "select_by": "key"},
        {"sampling": "n_sam", "n_sam_drop": 40},
        {"sampling": "ds", "ds_threshold": 0.3},
        {"sampling": "ds", "ds_mode": "schedule", "num_extra_positives": 2},
        {"sampling": "ds", "ds_mode": "both", "ds_threshold": 0.1, "num_extra_positives": 2},
    ],
    ids=str,
)
def test_equals_the_written_out_loop(fields, sources, reduction):
    rule = SelectionRule(**fields, same_source=sources, reduction=reduction)
    random = torch.Generator().manual_seed(7)
    for seed, (batch, candidates) in enumerate([(1, 1), (3, 12), (5, 30)]):
        data = draw(seed, batch, candidates)
        same = torch.rand(batch, candidates, generator=random) < 0.2
        left_out = torch.rand(batch, candidates, generator=random) < 0.3
        result = info_nce(*data, 0.2, rule, same_source=same, left_out=left_out)
        for i, (loss, positives, kept) in enumerate(written_out(data, rule, 0.2, same, left_out)):
            assert result.losses[i].item() == pytest.approx(loss, abs=1e-12)
            assert set(result.positive_mask[i].nonzero()[:, 0].tolist()) == positives
            assert set(result.kept_mask[i].nonzero()[:, 0].tolist()) == kept


def test_srcl_below_n_sam_below_infonce():
    for seed in range(100):
        data = draw(seed)
        plain, srcl, n_sam, ds = (
            losses(data, SelectionRule(sampling, ds_threshold=0.4)) for sampling in ("none", "srcl", "n_sam", "ds")
        )
        slack = 1e-12
        assert (srcl <= n_sam + slack).all()
        assert (n_sam <= plain + slack).all()
        assert (srcl <= ds + slack).all()
        assert (ds <= plain + slack).all()


def test_ends_of_every_rule():
    data = draw(3)
    plain = losses(data, PLAIN)
    for rule in (
        SelectionRule("srcl", num_extra_positives=0),
        SelectionRule("n_sam", n_sam_drop=0),
        SelectionRule("ds", ds_threshold=1.0),
    ):
        torch.testing.assert_close(losses(data, rule), plain, rtol=0, atol=1e-12)
    everything = losses(data, SelectionRule("srcl", num_extra_positives=20))
    torch.testing.assert_close(everything, torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    lowest = losses(data, SelectionRule("ds", ds_threshold=-1.0))
    torch.testing.assert_close(lowest, losses(data, SelectionRule("srcl")), rtol=0, atol=1e-12)


def test_mean_of_logs_is_larger_by_the_logarithm_of_the_count():
    for seed in range(20):
        data = draw(seed)
        both = [losses(data, SelectionRule("srcl", reduction=form)) for form in ("mean_of_logs", "sum_in_log")]
        assert (both[0] >= both[1] + math.log(6) - 1e-12).all()
    queries, keys, _ = draw(5)
    for row in range(4):  # all positives of this query coincide with its own key
        same = torch.cat([keys[row].expand(5, -1), -queries[row].expand(9, -1)]).T
        one = (queries[row : row + 1], keys[row : row + 1], same)
        forms = [losses(one, SelectionRule("srcl", reduction=form)) for form in ("mean_of_logs", "sum_in_log")]
        torch.testing.assert_close(forms[0], forms[1] + math.log(6), rtol=0, atol=1e-9)


@pytest.mark.parametrize("reduction", ["sum_in_log", "mean_of_logs"])
def test_gradient_by_logits_is_the_closed_form(reduction):
    data = draw(6)
    result = info_nce(data[0].requires_grad_(), *data[1:], 0.2, SelectionRule("srcl", reduction=reduction))
    (gradient,) = torch.autograd.grad(result.losses.sum(), result.logits)
    share = result.logits.detach().softmax(dim=1)
    positive = torch.nn.functional.pad(result.positive_mask, (1, 0), value=True)
    if reduction == "sum_in_log":
        pull = torch.where(positive, share, 0)
        pull = pull / pull.sum(dim=1, keepdim=True)
    else:
        pull = positive.double() / 6
    torch.testing.assert_close(gradient, share - pull, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "fields", [{"sampling": "srcl"}, {"sampling": "n_sam"}, {"sampling": "ds", "ds_threshold": 0.2}]
)
@pytest.mark.parametrize("select_by", ["query", "key"])
def test_the_choice_carries_no_gradient(fields, select_by):
    queries, keys, candidates = draw(8)
    rule = SelectionRule(**fields, select_by=select_by)
    leaf, fixed = queries.clone().requires_grad_(), queries.clone().requires_grad_()
    result = info_nce(leaf, keys, candidates, 0.2, rule)
    result.losses.mean().backward()
    # The same loss with the masks as constants.
    scores = torch.cat([(fixed * keys).sum(dim=1, keepdim=True), fixed @ candidates], dim=1) / 0.2
    positive, kept = (
        torch.nn.functional.pad(mask, (1, 0), value=True) for mask in (result.positive_mask, result.kept_mask)
    )
    total, numerator = (scores.masked_fill(~mask, -torch.inf).logsumexp(dim=1) for mask in (kept, positive))
    (total - numerator).mean().backward()
    torch.testing.assert_close(leaf.grad, fixed.grad, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(
        lambda q: info_nce(q, keys, candidates, 0.2, rule).losses, (queries.requires_grad_(),)
    )


@pytest.mark.parametrize("sampling", ["srcl", "n_sam", "ds"])
def test_before_the_warm_up_is_over_the_loss_is_plain_infonce_bit_for_bit(sampling):
    data = draw(9)
    plain = losses(data, PLAIN)
    rule = SelectionRule(sampling, ds_threshold=0.0)
    for epoch in (0, 1, 2, 3, 4, 4.98):
        at_epoch = rule.at_step(round(50 * epoch), 50 * 50)
        assert not at_epoch.is_active
        assert torch.equal(losses(data, at_epoch), plain)
    assert rule.at_step(50 * 5, 50 * 50).is_active
    assert not torch.equal(losses(data, rule.at_step(50 * 5, 50 * 50)), plain)


@pytest.mark.parametrize("steps_per_epoch", [1, 3, 7, 614])
@pytest.mark.parametrize("ds_mode", ["schedule", "both"])
def test_the_number_of_positives_grows_with_the_run(ds_mode, steps_per_epoch):
    rule = SelectionRule("ds", ds_mode=ds_mode)
    steps = 50 * steps_per_epoch
    grown = {
        epoch: rule.at_step(epoch * steps_per_epoch, steps).num_extra_positives for epoch in (5, 7, 15, 23, 25, 40, 50)
    }
    assert grown == {5: 0, 7: 1, 15: 3, 23: 5, 25: 5, 40: 5, 50: 5}
    assert not rule.at_step(5 * steps_per_epoch - 1, steps).is_active
    fixed = SelectionRule("ds", ds_mode="threshold").at_step(5 * steps_per_epoch, steps)
    assert fixed.num_extra_positives == 5


def test_excluded_sources_are_as_if_deleted():
    queries, keys, candidates = draw(10, batch=1)
    sources = torch.tensor([3, -1, 7, 7, 4, 7, *[-1] * 14])
    same = same_source(torch.tensor([7]), sources)
    assert same[0].nonzero()[:, 0].tolist() == [2, 3, 5]
    deleted = (queries, keys, candidates[:, ~same[0]])
    for sampling in ("none", "srcl", "n_sam", "ds"):
        fields = {"sampling": sampling, "ds_threshold": 0.2}
        excluded = losses((queries, keys, candidates), SelectionRule(**fields, same_source="exclude"), same_source=same)
        torch.testing.assert_close(excluded, losses(deleted, SelectionRule(**fields)), rtol=0, atol=1e-12)
    unknown = same_source(torch.tensor([-1]), sources)
    assert not unknown.any()


def test_positive_sources_come_beside_the_chosen():
    queries, keys, candidates = draw(11, batch=3)
    same = torch.zeros(3, 20, dtype=torch.bool)
    same[0, [1, 4, 19]] = True
    same[1, 0] = True
    result = info_nce(queries, keys, candidates, 0.2, SelectionRule("srcl", same_source="positive"), same_source=same)
    assert result.positive_mask.sum(dim=1).tolist() == [8, 6, 5]
    assert result.positive_mask[same].all()


def test_a_batch_of_one_patient_alone_has_no_loss_and_no_gradient():
    queries, keys, _ = draw(12)
    queries = queries.requires_grad_()
    for sampling in ("none", "srcl", "n_sam", "ds"):
        for reduction in ("sum_in_log", "mean_of_logs", "sum_of_logs"):
            rule = SelectionRule(sampling, same_source="exclude", reduction=reduction)
            same = torch.ones(4, 4, dtype=torch.bool)
            left_out = torch.eye(4, dtype=torch.bool)
            result = info_nce(queries, keys, keys.T, 0.2, rule, same_source=same, left_out=left_out)
            assert not result.losses.any()
            (gradient,) = torch.autograd.grad(result.losses.sum(), queries)
            assert not gradient.any()


def test_an_earlier_key_of_the_own_record_is_chosen_first_unless_its_source_is_excluded():
    queries, keys, candidates = draw(13)
    candidates = torch.cat([candidates, normalize(queries + 0.1 * unit(4, 6, seed=99), dim=1).T], dim=1)
    same = same_source(torch.arange(4), torch.cat([torch.full((20,), -1), torch.arange(4)]))
    chosen = info_nce(queries, keys, candidates, 0.2, SelectionRule("srcl"))
    assert chosen.selection.ids[:, 0].tolist() == [20, 21, 22, 23]
    excluded = info_nce(queries, keys, candidates, 0.2, SelectionRule("srcl", same_source="exclude"), same_source=same)
    assert not excluded.positive_mask[:, 20:].diagonal().any()
    assert not excluded.kept_mask[:, 20:].diagonal().any()


def test_of_equal_candidates_the_lower_index_is_chosen():
    queries, keys, candidates = draw(14, candidates=6)
    repeated = candidates.repeat(1, 200)
    result = info_nce(queries, keys, repeated, 0.2, SelectionRule("srcl", num_extra_positives=3))
    nearest = (queries @ candidates).argmax(dim=1)
    assert result.selection.ids.tolist() == [[n, n + 6, n + 12] for n in nearest.tolist()]
    # The border between what is dropped and what is kept.
    result = info_nce(queries, keys, repeated, 0.2, SelectionRule("n_sam", n_sam_drop=2, n_sam_keep=3))
    kept = [row.nonzero()[:, 0].tolist() for row in result.kept_mask]
    assert kept == [[n + 12, n + 18, n + 24] for n in nearest.tolist()]
    equal = select_keys(torch.zeros(3, 500), SelectionRule("srcl"))
    assert equal.ids.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_similarities_computed_in_pieces_choose_the_same():
    queries, _, candidates = draw(15, candidates=100)
    whole = queries @ candidates
    pieces = torch.cat([queries @ candidates[:, start : start + 7] for start in range(0, 100, 7)], dim=1)
    rule = SelectionRule("srcl")
    assert torch.equal(select_keys(whole, rule).ids, select_keys(pieces, rule).ids)
    # The best of every piece, chosen again.
    best = (
        torch.cat([start + select_keys(whole[:, start : start + 7], rule).ids for start in range(0, 100, 7)], dim=1)
        .sort(dim=1)
        .values
    )
    again = best.gather(1, select_keys(whole.gather(1, best), rule).ids)
    assert torch.equal(again, select_keys(whole, rule).ids)


@pytest.mark.parametrize("sampling", ["none", "srcl", "n_sam", "ds"])
def test_bfloat16_autocast_with_a_long_queue_is_computed_in_float32(sampling):
    queries = unit(2, 16).float().requires_grad_()
    candidates = torch.cat([queries.detach(), unit(65_536, 16, seed=1).float()]).T
    left_out = torch.zeros(2, len(candidates.T), dtype=torch.bool)
    left_out[:, 40_000:] = True
    rule = SelectionRule(sampling)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = info_nce(queries, queries.detach(), candidates, 0.05, rule, left_out=left_out)
    assert result.logits.dtype == torch.float32
    assert result.losses.isfinite().all()
    result.losses.mean().backward()
    assert queries.grad.isfinite().all()
    outside = info_nce(queries, queries.detach(), candidates, 0.05, rule, left_out=left_out)
    assert torch.equal(result.selection.ids, outside.selection.ids)
    assert info_nce(*(part.bfloat16() for part in draw(1)), 0.2, rule).losses.dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"sampling": "hard"}, r"'hard'.*'srcl'"),
        ({"reduction": "mean"}, "'sum_in_log'"),
        ({"select_by": "queue"}, "'key'"),
        ({"same_source": True}, "'exclude'"),
        ({"ds_mode": "epochs"}, "'schedule'"),
        ({"ds_threshold": 1.01}, "-1 to 1"),
        ({"ds_threshold": -1.01}, "-1 to 1"),
        ({"num_extra_positives": -1}, "num_extra_positives is -1"),
        ({"n_sam_keep": 0}, "at least 1"),
        ({"sampling_warmup": 5}, "0 to 1"),
        ({"sampling": "ds", "ds_mode": "schedule", "ds_end": 0.1}, "no time to grow"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(fields, named):
    with pytest.raises(CheckpointError, match=named):
        SelectionRule(**fields)


def test_nothing_to_choose_from_is_an_error():
    queries, keys, candidates = draw(16)
    with pytest.raises(CheckpointError, match="no candidate"):
        losses((queries, keys, candidates[:, :0]), SelectionRule("srcl"))
    assert not losses((queries, keys, candidates[:, :0]), PLAIN).any()


@pytest.mark.parametrize("same", ["exclude", "positive"])
def test_sources_without_ids_are_an_error(same):
    with pytest.raises(CheckpointError, match=r"patient_ids"):
        losses(draw(17), SelectionRule(same_source=same))
