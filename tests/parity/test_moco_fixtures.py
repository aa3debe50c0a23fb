"""Our objectives against what facebookresearch/moco and facebookresearch/mae computed, in float64."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ecg_transformers.augmentations import functional
from ecg_transformers.features.steps import patchify, unpatchify
from ecg_transformers.layers.positions import sincos_positions
from ecg_transformers.objectives.gather import all_gather, shuffled_key_pass
from ecg_transformers.objectives.infonce import info_nce
from ecg_transformers.objectives.masking import random_patch_mask, select_patches
from ecg_transformers.objectives.momentum import ema_update
from ecg_transformers.objectives.queue import KeyQueue
from ecg_transformers.objectives.reconstruction import masked_reconstruction_loss, normalized_patches

from ..two_processes import run_in_two_processes
from .recorded import DATA, assert_near, part


class TinyEncoder(nn.Module):
    """The encoder that was used to record the MoCo v2 fixtures."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(16, 24)
        self.bn = nn.BatchNorm1d(24)
        self.fc = nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 8))

    def forward(self, x):
        return self.fc(self.bn(self.fc1(x)).relu())


def queue_from(keys, pointer):
    queue = KeyQueue(*keys.shape).double()
    queue.keys.copy_(keys)
    queue.pointer.copy_(pointer)
    return queue


def test_five_steps_of_moco_v2():
    fixture = load_file(DATA / "moco_v2_single.safetensors")
    online, twin = TinyEncoder().double(), TinyEncoder().double()
    online.load_state_dict(part(fixture, "init.encoder_q."))
    twin.load_state_dict(part(fixture, "init.encoder_k."))
    twin.requires_grad_(False)
    queue = queue_from(fixture["init.queue"], fixture["init.queue_ptr"])
    optimizer = torch.optim.SGD(online.parameters(), lr=0.1)
    for step in range(5):
        want = part(fixture, f"step{step}.")
        assert_near(queue.keys, want["queue_before"])
        before = queue.keys.clone()
        start = int(queue.pointer)
        queries = nn.functional.normalize(online(want["x_query"]), dim=1)
        for name, value in twin.state_dict().items():
            assert_near(value.double(), want[f"key_encoder_before.{name}"].double())
        ema_update(twin, online, 0.9)
        with torch.no_grad():
            keys = nn.functional.normalize(twin(want["x_key"]), dim=1)
        contrast = info_nce(queries, keys, queue.keys.clone(), 0.2)
        assert_near(contrast.logits, want["logits"])
        assert_near(contrast.loss, want["loss"])
        queue.enqueue(keys)
        assert_near(queue.keys, want["queue_after"])
        assert queue.pointer.item() == want["queue_ptr_after"].item() == (4, 8, 0, 4, 8)[step]
        untouched = [c for c in range(12) if c not in [(start + i) % 12 for i in range(4)]]
        assert torch.equal(queue.keys[:, untouched], before[:, untouched])
        assert_near(queue.keys.norm(dim=0), torch.ones(12), 1e-6)
        optimizer.zero_grad()
        contrast.loss.backward()
        for name, parameter in online.named_parameters():
            assert_near(parameter.grad, want[f"grad.encoder_q.{name}"])
        optimizer.step()
        for name, value in online.state_dict().items():
            assert_near(value.double(), want[f"query_encoder_after_sgd.{name}"].double())
        for name, value in twin.state_dict().items():
            assert_near(value.double(), want[f"key_encoder_after.{name}"].double())


def three_steps_of_one_rank(rank):
    fixture = load_file(DATA / "moco_v2_two_process.safetensors")
    online, twin = TinyEncoder().double(), TinyEncoder().double()
    online.load_state_dict(part(fixture, "init.encoder_q."))
    twin.load_state_dict(part(fixture, "init.encoder_k."))
    queue = queue_from(fixture["init.queue"], fixture["init.queue_ptr"])
    for step in range(3):
        want = part(fixture, f"rank{rank}.step{step}.")
        queries = nn.functional.normalize(online(want["x_query"]), dim=1)
        keys = shuffled_key_pass(
            lambda x: nn.functional.normalize(twin(x), dim=1), want["x_key"], fixture[f"step{step}.idx_shuffle"]
        )
        contrast = info_nce(queries, keys, queue.keys.clone(), 0.2)
        queue.enqueue(all_gather(keys))
        assert_near(contrast.logits, want["logits"])
        assert_near(contrast.loss, want["loss"])
        assert_near(queue.keys, fixture[f"step{step}.queue_after"])
        assert_near(queue.pointer, fixture[f"step{step}.queue_ptr_after"])
        for name, value in part(want, "key_buffers.").items():
            assert_near(twin.state_dict()[name], value)
        online.zero_grad()
        contrast.loss.backward()
        for name, parameter in online.named_parameters():
            assert_near(parameter.grad, want[f"grad.encoder_q.{name}"])


def test_three_steps_of_moco_v2_in_two_processes():
    run_in_two_processes(three_steps_of_one_rank)


@pytest.mark.parametrize("case", "abcdef")
def test_random_masking(case):
    fixture = part(load_file(DATA / "mae_random_masking.safetensors"), f"{case}.")
    mask = random_patch_mask(fixture["noise"], float(fixture["mask_ratio"]))
    assert torch.equal(mask.ids_keep, fixture["ids_keep"])
    assert torch.equal(mask.ids_restore, fixture["ids_restore"])
    assert torch.equal(mask.patch_mask, fixture["mask"].to(mask.patch_mask.dtype))
    assert torch.equal(select_patches(fixture["x"], mask.ids_keep), fixture["x_masked"])


def test_reconstruction_loss_and_its_gradient():
    fixture = load_file(DATA / "mae_loss_1d.safetensors")
    target = patchify(fixture["signal"], 25)
    assert_near(target, fixture["target_patches"], 0)
    assert torch.equal(unpatchify(target, 12), fixture["signal"])
    for name, normalize in (("plain", False), ("norm_pix", True)):
        prediction = fixture["pred"].clone().requires_grad_()
        loss = masked_reconstruction_loss(prediction, target, fixture["mask"], normalize_patches=normalize)
        loss.backward()
        assert_near(loss, fixture[f"{name}.loss"], 1e-12)
        assert_near(prediction.grad, fixture[f"{name}.grad_pred"], 1e-12)
        whole = masked_reconstruction_loss(
            fixture["pred"], target, torch.ones_like(fixture["mask"]), normalize_patches=normalize
        )
        assert_near(whole, fixture[f"{name}.loss_whole_record_ours"], 1e-12)
    assert normalized_patches(target)[2, 2].abs().max() == 0


def test_sincos_table():
    fixture = load_file(DATA / "sincos_1d.safetensors")
    assert_near(sincos_positions(9, 16), fixture["sincos_1d_9x16"], 1e-6)
    assert_near(sincos_positions(9, 16, cls_token=True), fixture["sincos_1d_9x16_with_cls_row"], 1e-6)


def test_view_augmentations():
    f = load_file(DATA / "augmentations_ours.safetensors")
    x = f["x"].clone()
    results = {
        "rrc_out": functional.resized_crop(x, f["rrc_length"], f["rrc_start"]),
        "erase_out": functional.erase_lead(x, f["erase_lead"]),
        "timeout_out": functional.time_out(x, f["timeout_width"], f["timeout_start"]),
        "partial_noise_out": functional.partial_noise(
            x, f["partial_noise_width"], f["partial_noise_start"], f["partial_noise_noise"], 0.3
        ),
        "drop_out": functional.drop_samples(x, f["drop_uniform"], f["drop_count"]),
    }
    for name, result in results.items():
        assert_near(result, f[name], 1e-12)
        assert result.dtype == torch.float64
    assert torch.equal(x, f["x"])
