"""One recorded MAE-NextClip step in float64: its parts that need no model, and the model."""

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers import MaeNextclipConfig, MaeNextclipForPreTraining
from ecg_transformers.features.steps import patchify
from ecg_transformers.objectives.masking import random_patch_mask
from ecg_transformers.objectives.nextclip import clip_loss, cut_clip

from .recorded import DATA, assert_near
from .test_mae_moco_fixtures import SMALL, our_name


@pytest.fixture
def step():
    return load_file(DATA / "mae_nextclip_step_ours.safetensors")


def test_input_target_and_mask(step):
    clip = cut_clip(step["x"], step["starts"], step["lengths"], 50)
    assert_near(clip.input_values, step["input_zeroed"], 0)
    assert_near(clip.target, step["target"], 0)
    assert_near(clip.target_mask, step["target_mask"], 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_loss_and_the_gradient_that_reaches_the_head(step, dtype, tolerance):
    clip = cut_clip(step["x"].to(dtype), step["starts"], step["lengths"], 50)
    prediction = step["nextclip"].to(dtype).requires_grad_()
    loss = clip_loss(prediction, clip.target, clip.target_mask)
    assert_near(loss, step["loss_nextclip"], tolerance)
    loss.backward()
    # The head's bias is added to every record, sample-major with the lead fastest.
    at_the_head = prediction.grad.transpose(1, 2).flatten(1).sum(dim=0)
    assert_near(at_the_head, step["grad.nextclip_decoder.head.bias"], max(tolerance, 1e-10))


def test_total_is_the_clip_plus_twice_the_reconstruction(step):
    assert_near(step["loss_nextclip"] + 2 * step["loss_reconstruction"], step["loss"], 1e-12)
    mask = random_patch_mask(step["noise"], 0.75).patch_mask
    assert mask.shape == patchify(step["x"], 25).shape[:2]


def test_recorded_query_and_key_of_the_clip_decoder_get_no_gradient(step):
    """One token attends to itself alone: the softmax is 1, whatever query and key are."""
    for part in ("query", "key"):
        for kind in ("weight", "bias"):
            assert not step[f"grad.nextclip_decoder.layers.0.attention.{part}.{kind}"].any()
    assert step["grad.nextclip_decoder.layers.0.attention.value.weight"].any()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_model_repeats_the_step(step, attention):
    small = {name: value for name, value in SMALL.items() if not name.startswith(("projec", "queue"))}
    config = MaeNextclipConfig(**small, nextclip_size=50, nextclip_context_size=25, attn_implementation=attention)
    model = MaeNextclipForPreTraining(config).double().train()
    other = load_file(DATA / "mae_moco_step_ours.safetensors")
    parts = tuple(f"weights.{part}." for part in ("encoder", "decoder", "nextclip_decoder"))
    weights = {name: value for name, value in other.items() if name.startswith(parts)}
    model.load_state_dict({our_name(name.removeprefix("weights.")): value for name, value in weights.items()})
    output = model(step["x"], patch_noise=step["noise"], nextclip_starts=step["starts"], nextclip_sizes=step["lengths"])
    for ours in ("nextclip", "reconstruction"):
        if ours in step:
            assert_near(output[ours], step[ours], 1e-10)
    for ours, theirs in (("nextclip_loss", "loss_nextclip"), ("reconstruction_loss", "loss_reconstruction")):
        assert_near(output[ours], step[theirs], 1e-12)
    assert_near(output.loss, step["loss"], 1e-12)
    output.loss.backward()
    gradients = {our_name(n.removeprefix("grad.")): value for n, value in step.items() if n.startswith("grad.")}
    parameters = dict(model.named_parameters())
    assert set(gradients) == set(parameters)
    for name, gradient in gradients.items():
        assert_near(parameters[name].grad, gradient, 1e-10)
        if name.startswith("nextclip_decoder") and (".query." in name or ".key." in name):
            # Exactly zero where the products are written out; a fused kernel of another CPU rounds.
            assert parameters[name].grad.abs().max() <= (0 if attention == "eager" else 1e-16), name
