"""MAE-MoCo against recorded tensors: the official MAE flow and one full training step, in float64."""

import pytest
import torch
from safetensors.torch import load_file

from ecg_transformers import MaeMocoConfig, MaeMocoForPreTraining, MaeMocoModel
from ecg_transformers.features.steps import patchify
from ecg_transformers.objectives.masking import random_patch_mask, select_patches
from ecg_transformers.objectives.reconstruction import masked_reconstruction_loss

from ..testers.mae_moco import SIZES
from .recorded import DATA, assert_near

SMALL = {
    "num_leads": 3,
    "window_size": 200,
    "patch_size": 25,
    **SIZES,
    "projector_hidden_size": 8,
    "projection_size": 8,
    "queue_size": 16,
}


def official_encoder(weights, config):
    """The encoder with weights under the names of facebookresearch/mae."""
    state = {
        "embeddings.cls_token": weights["cls_token"],
        "embeddings.position_embeddings": weights["pos_embed"],
        "embeddings.patch_embeddings.weight": weights["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.bias": weights["patch_embed.proj.bias"],
        "layernorm.weight": weights["norm.weight"],
        "layernorm.bias": weights["norm.bias"],
    }
    names = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for layer in range(config.num_hidden_layers):
        for kind in ("weight", "bias"):
            for theirs, ours in names.items():
                state[f"encoder.layer.{layer}.{ours}.{kind}"] = weights[f"blocks.{layer}.{theirs}.{kind}"]
            rows = weights[f"blocks.{layer}.attn.qkv.{kind}"].chunk(3)
            for name, value in zip(("query", "key", "value"), rows, strict=True):
                state[f"encoder.layer.{layer}.attention.{name}.{kind}"] = value
    model = MaeMocoModel(config).double()
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_official_mae_encoder_and_losses(attention):
    fixture = load_file(DATA / "mae_forward_1d.safetensors")
    weights = {n.removeprefix("weights."): v for n, v in fixture.items() if n.startswith("weights.")}
    model = official_encoder(weights, MaeMocoConfig(**SMALL, attn_implementation=attention)).eval()
    mask = random_patch_mask(fixture["noise"], 0.75)
    assert torch.equal(mask.ids_restore, fixture["ids_restore"])
    assert_near(mask.patch_mask, fixture["mask"], 0)
    patches = patchify(fixture["x"], 25)
    with torch.no_grad():
        latent = model.encode_visible(select_patches(patches, mask.ids_keep), mask.ids_keep, None, True)
        full = model(fixture["x"]).last_hidden_state
    assert_near(latent, fixture["latent_with_cls"][:, 1:])
    assert_near(full, fixture["latent_unmasked"])
    loss = masked_reconstruction_loss(fixture["pred"], patches, mask.patch_mask)
    assert_near(loss, fixture["loss"], 1e-12)
    loss = masked_reconstruction_loss(fixture["pred"], patches, mask.patch_mask, normalize_patches=True)
    assert_near(loss, fixture["loss_norm_pix"], 1e-12)
    with torch.no_grad():
        single = model.float()(fixture["x"].float()).last_hidden_state
    assert_near(single, fixture["latent_unmasked"], 1e-5)


def our_name(name):
    """Name in the fixture `mae_moco_step_ours` to name in the state dict."""
    part, _, rest = name.partition(".")
    part = {"encoder": "mae_moco"}.get(part, part)
    if part in ("mae_moco", "momentum_encoder", "decoder", "nextclip_decoder"):
        rest = rest.replace("norm_before", "layernorm_before").replace("norm_after", "layernorm_after")
        rest = rest.replace(".intermediate.", ".intermediate.dense.").replace("layers.", "layer.")
        if ".attention." not in rest:
            rest = rest.replace(".output.", ".output.dense.")
        if "decoder" not in part:
            rest = rest.replace("layer.", "encoder.layer.", 1) if rest.startswith("layer.") else rest
            if rest.split(".")[0] in ("patch_embeddings", "cls_token", "position_embeddings"):
                rest = f"embeddings.{rest}"
    else:
        index, _, kind = rest.partition(".")
        layer, is_norm = divmod(int(index), 3)
        rest = f"layers.{layer}.{'norm' if is_norm else 'linear'}.{kind}"
    return f"{part}.{rest}"


def recorded(fixture, prefix):
    return {
        our_name(name.removeprefix(prefix)): value
        for name, value in fixture.items()
        if name.startswith(prefix) and "nextclip" not in name
    }


@pytest.fixture
def step():
    fixture = load_file(DATA / "mae_moco_step_ours.safetensors")
    model = MaeMocoForPreTraining(MaeMocoConfig(**SMALL)).double().train()
    missing, unexpected = model.load_state_dict(recorded(fixture, "weights."), strict=False)
    assert not unexpected
    assert all(name.startswith("queue.") for name in missing)
    model.queue.keys.copy_(fixture["queue_before"])
    model.queue.pointer.copy_(fixture["queue_ptr_before"])
    return fixture, model


def test_one_training_step(step):
    fixture, model = step
    output = model(
        fixture["x"],
        views=torch.stack([fixture["view_query"], fixture["view_key"]], dim=1),
        patch_noise=fixture["noise"],
    )
    assert_near(output.patch_mask, fixture["mask"], 0)
    assert torch.equal(output.ids_restore, fixture["ids_restore"])
    for ours, theirs in {
        "reconstruction": "reconstruction",
        "reconstruction_loss": "loss_reconstruction",
        "last_hidden_state": "last_hidden_state_query",
        "queries": "query",
        "positive_keys": "key",
        "logits": "logits",
        "contrastive_loss": "loss_contrastive",
        "loss": "loss",
    }.items():
        assert_near(output[ours], fixture[theirs])
    assert_near(model.queue.keys, fixture["queue_after"])
    assert torch.equal(model.queue.pointer, fixture["queue_ptr_after"])
    output.loss.backward()
    gradients = recorded(fixture, "grad.")
    parameters = dict(model.named_parameters())
    assert set(gradients) == {name for name, p in parameters.items() if p.grad is not None}
    for name, gradient in gradients.items():
        assert_near(parameters[name].grad, gradient)
    state = model.state_dict()
    after = recorded(fixture, "after.")
    assert len(after) > 60
    for name, value in after.items():
        assert_near(state[name].double(), value.double(), 1e-12)


def test_masked_latents_with_and_without_cls(step):
    fixture, model = step
    mask = random_patch_mask(fixture["noise"], 0.75)
    assert torch.equal(mask.ids_keep, fixture["ids_keep"])
    visible = select_patches(patchify(fixture["x"], 25), mask.ids_keep)
    for use_cls, name in ((False, "latent_masked"), (True, "lat_with_cls_option")):
        assert_near(model.mae_moco.encode_visible(visible, mask.ids_keep, None, use_cls), fixture[name])


def test_whole_record_scope(step):
    fixture, model = step
    model.config.reconstruction_scope = "all"
    output = model(
        fixture["x"],
        views=torch.stack([fixture["view_query"], fixture["view_key"]], dim=1),
        patch_noise=fixture["noise"],
    )
    assert_near(output.reconstruction_loss, fixture["loss_reconstruction_all"])
