"""SRCL, N-Sam and DS against a brute-force loop: masks, losses per query and gradients of all 36 recorded cases."""

import json
from itertools import product

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import normalize

from ecg_transformers.objectives.infonce import info_nce
from ecg_transformers.objectives.selection import SelectionRule
from ecg_transformers.objectives.sources import same_source

from .recorded import DATA, assert_near

RULES = {
    "none": {},
    "srcl": {"sampling": "srcl", "num_extra_positives": 3},
    "nsam": {"sampling": "n_sam", "n_sam_drop": 5},
    "ds": {"sampling": "ds", "num_extra_positives": 5, "ds_threshold": 0.55},
}
CASES = sorted({name.rpartition(".")[0] for name in load_file(DATA / "srcl_reference_ours.safetensors") if "." in name})


@pytest.fixture(scope="module")
def recorded():
    return load_file(DATA / "srcl_reference_ours.safetensors")


@pytest.fixture(scope="module")
def in_order():
    return json.loads((DATA / "srcl_reference_ours.json").read_text())


def test_all_cases_are_here():
    reductions, sources, sides = ("sum_in_log", "mean_of_logs"), ("ignore", "exclude", "positive"), ("query", "key")
    assert len(CASES) == 36
    assert set(CASES) <= {".".join(case) for case in product(RULES, reductions, sources, sides)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_masks_losses_and_gradients(recorded, in_order, case, dtype):
    sampling, reduction, sources, side = case.split(".")
    rule = SelectionRule(**RULES[sampling], reduction=reduction, same_source=sources, select_by=side)
    raw = recorded["q_raw"].to(dtype, copy=True).requires_grad_()
    queries, keys = normalize(raw, dim=1), normalize(recorded["k_raw"].to(dtype), dim=1)
    candidates = recorded["queue"].to(dtype).T
    assert_near(queries @ candidates, recorded["similarity_q_queue"], 1e-12 if dtype == torch.float64 else 1e-6)
    same = same_source(recorded["source_query"].long(), recorded["source_queue"].long())
    contrast = info_nce(queries, keys, candidates, float(recorded["temperature"]), rule, same_source=same)
    assert torch.equal(contrast.positive_mask, recorded[f"{case}.positive_mask"].bool())
    assert torch.equal(contrast.kept_mask, recorded[f"{case}.kept_mask"].bool())
    exact = dtype == torch.float64
    assert_near(contrast.losses, recorded[f"{case}.loss_per_query"], 1e-12 if exact else 1e-5)
    contrast.losses.mean().backward()
    assert_near(raw.grad, recorded[f"{case}.grad_q_raw_of_mean"], 1e-10 if exact else 1e-4)
    if case in in_order:
        assert contrast.losses.mean().item() == pytest.approx(in_order[case]["loss_mean"], abs=1e-12 if exact else 1e-5)
