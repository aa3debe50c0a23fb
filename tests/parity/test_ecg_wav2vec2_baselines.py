"""The other objectives of the Wav2Vec 2.0 + CMSC study (SimCLR, 3KG, CLOCS), against values recorded from
fairseq-signals; those of CLOCS from its formulas."""

import itertools

import pytest
import torch

from ecg_transformers import SimclrConfig
from ecg_transformers.augmentations.recipes import view_recipe
from ecg_transformers.augmentations.vectorcardiogram import DOWER_INVERSE, turn_vectorcardiogram
from ecg_transformers.objectives.infonce import matrix_info_nce, unit_of_constant_norm
from ecg_transformers.objectives.ntxent import nt_xent
from ecg_transformers.objectives.selection import SelectionRule

from .recorded import assert_near_largest, part
from .test_ecg_wav2vec2_fixtures import SMALL, load, near, read_json

# 3KG: every other view of the patient is a positive, alone against the views of other patients.
THREE_KG = SelectionRule(same_source="positive", reduction="sum_of_logs")


@pytest.mark.parametrize(
    ("case", "rule"),
    [("simclr", SelectionRule()), ("3kg_distinct", THREE_KG), ("3kg_same_patient", THREE_KG)],
)
def test_losses_of_views_with_gradients(case, rule):
    want = part(load("baseline_losses"), f"{case}.")
    features = want["features"].clone().requires_grad_()
    views = unit_of_constant_norm(features).unflatten(0, (-1, 2))
    sources = want["patient_id"][::2] if "patient_id" in want else None
    # The published sums are over the views.
    loss = nt_xent(views, 0.1, rule=rule, sources=sources).loss * len(features)
    near(loss, want["loss_sum"], rtol=1e-5)
    loss.backward()
    near(features.grad, want["grad"], rtol=1e-3, atol=2e-6)


def test_losses_across_leads():
    want = part(load("baseline_losses"), "clocs.")
    units, patients, segment = unit_of_constant_norm(want["features"]), want["patient_id"], want["segment"]
    same = patients[:, None] == patients
    pairs = list(itertools.combinations(range(len(units)), 2))
    leads = [matrix_info_nce(units[a] @ units[b].T / 0.1, same).loss for a, b in pairs]
    near(torch.stack(leads).mean(), want["cmlc_loss"], rtol=1e-5)
    first, second = units[:, segment == 0], units[:, segment == 1]
    positives = patients[segment == 0][:, None] == patients[segment == 1]
    segments = [matrix_info_nce(first[a] @ second[b].T / 0.1, positives).loss for a, b in pairs]
    near(torch.stack(segments).mean(), want["cmsmlc_loss"], rtol=1e-5)


@pytest.mark.parametrize("case", ["identity", "scale_only", "nomask", "full"])
@pytest.mark.parametrize("number", [0, 1])
def test_views_of_3kg(case, number):
    recorded = load("views")
    want = part(recorded, f"3kg_{case}.")
    angles = torch.deg2rad(want.get("angles_deg", torch.zeros(6).double())).view(2, 3)[number : number + 1]
    scales = want.get("scales", torch.ones(6).double()).view(2, 3)[number : number + 1]
    signal = recorded["input"][None].double()
    view = turn_vectorcardiogram(signal, angles, scales)
    if "mask_start" in want:
        starts = want["mask_start"].view(2, 12)[number : number + 1]
        _, silence = view_recipe("3kg", sampling_rate=500).operations
        view = silence.apply(view, {"start": starts})
    assert_near_largest(view[0], want[f"view{number + 1}"], 1e-6, name=case)


def test_the_matrix_of_dower_and_the_relations_of_the_limb_leads():
    recorded = load("views")
    assert torch.equal(torch.tensor(DOWER_INVERSE, dtype=torch.float64), recorded["3kg.dower_inverse"])
    recipe = view_recipe("3kg", sampling_rate=100)
    signal = torch.randn(4, 12, 100, generator=torch.Generator().manual_seed(0))
    turned = recipe.operations[0].apply(signal, {"angles": torch.rand(4, 3), "scales": 1 + torch.rand(4, 3)})
    one, two, three, right, left, foot = turned[:, :6].unbind(1)
    for found, expected in (
        (three, two - one), (right, -(one + two) / 2), (left, one - two / 2), (foot, two - one / 2)
    ):  # fmt: skip
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_small_network_is_the_recorded_one():
    ours = {
        "encoder_layers": "num_hidden_layers", "encoder_embed_dim": "hidden_size", "latent_vars":
        "num_codevectors_per_group", "encoder_ffn_embed_dim": "intermediate_size", "encoder_attention_heads":
        "num_attention_heads", "final_dim": "projection_size", "num_negatives": "num_negatives", "dropout":
        "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob", "dropout_input":
        "feat_proj_dropout", "dropout_features": "feat_quantizer_dropout",
    }  # fmt: skip
    facts = read_json("config_small")
    assert {name: SMALL[mine] for name, mine in ours.items()} == {name: facts[name] for name in ours}
    assert facts["conv_feature_layers"] == f"[({SMALL['conv_dim'][0]},2,2)]*{len(SMALL['conv_dim'])}"


def test_3kg_is_a_setting_of_simclr():
    config = SimclrConfig(views="3kg", same_source="positive", reduction="sum_of_logs", temperature=0.1)
    assert SelectionRule.from_config(config) == THREE_KG
