"""Properties of MAE-NextClip beyond the recorded step."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from ecg_transformers import (
    MaeMocoConfig,
    MaeMocoModel,
    MaeNextclipConfig,
    MaeNextclipForPreTraining,
    MaeNextclipModel,
)
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError
from ecg_transformers.signals.synthesis import synthesize_record

from ..conftest import count
from ..testers.mae_moco import SIZES

TINY = {
    "sampling_rate": 100,
    "window_size": 200,
    **SIZES,
    "nextclip_size": 42,
    "nextclip_context_size": 100,
}


def tiny(**changes):
    torch.manual_seed(0)
    return MaeNextclipForPreTraining(MaeNextclipConfig(**{**TINY, **changes}))


def records(batch=4, samples=200):
    return torch.randn(batch, 12, samples, generator=torch.Generator().manual_seed(1))


def with_draws(model, x, seed=2, **masks):
    return model.apply_draws({"input_values": x, **masks}, model.draw(RowGenerator(len(x), seed=seed)))


def test_published_size_has_the_published_counts_and_no_part_of_the_contrast():
    model = MaeNextclipForPreTraining(MaeNextclipConfig())
    assert count(model.mae_moco) == 12_846_592
    assert count(model.decoder) == 773_164
    assert count(model.nextclip_decoder) == 1_121_544
    assert count(model) == 14_741_300
    own = MaeNextclipConfig().own_fields()
    assert not [
        name
        for name in own
        if name.startswith(("queue", "proj", "view", "momentum", "same_source", "n_sam", "shuffle"))
    ]
    assert not [name for name in MaeMocoConfig().own_fields() if "nextclip" in name]


@torch.no_grad()
def test_nothing_from_the_start_on_reaches_the_prediction():
    model = tiny().eval()
    x, starts = records(), torch.tensor([100, 117, 150, 158])
    keywords = {"nextclip_starts": starts, "patch_noise": torch.rand(4, 8)}
    hidden = torch.arange(200) >= starts[:, None]
    before = model(x, **keywords)
    after = model(torch.where(hidden[:, None], 9.0, x), **keywords)
    assert torch.equal(after.nextclip, before.nextclip)
    assert torch.equal(after.last_hidden_state, before.last_hidden_state)
    last_seen = torch.arange(200) == starts[:, None] - 1
    other = model(torch.where(last_seen[:, None], x + 1, x), **keywords)
    assert (other.nextclip != before.nextclip).flatten(1).any(dim=1).all()


def test_starts_reach_both_ends_and_no_further():
    model = tiny()
    starts = with_draws(model, torch.zeros(10_000, 12, 200))["nextclip_starts"]
    assert starts.unique().tolist() == list(range(100, 159))


def test_a_record_that_is_too_short_has_no_weight_and_is_counted():
    model = tiny().eval()
    x, mask = records(), torch.ones(4, 200, dtype=torch.long)
    mask[1, 141:] = 0
    draws = with_draws(model, x, attention_mask=mask)
    assert draws["nextclip_sizes"].tolist() == [42, 0, 42, 42]
    output = model(x, **draws, attention_mask=mask)
    assert output.nextclip_skipped == 0.25
    rest = torch.tensor([0, 2, 3])
    without = model(x[rest], **{name: value[rest] for name, value in draws.items()}, attention_mask=mask[rest])
    torch.testing.assert_close(output.nextclip_loss, without.nextclip_loss, rtol=1e-5, atol=1e-6)
    nothing = model(x[1:2], **{n: v[1:2] for n, v in draws.items()}, attention_mask=mask[1:2])
    assert nothing.nextclip_loss == 0


def test_the_records_that_are_too_short_are_told_once():
    model, lengths = tiny(), np.array([200, 141, 142, 99])
    (line,) = model.record_notes(lengths)
    assert line.startswith("2 of 4 training records are shorter than 100 + 42 samples")
    assert model.record_notes(lengths[:1]) == []
    assert tiny(nextclip_weight=0).record_notes(lengths) == []
    # The shortest half cycle, .15 s.
    (line,) = tiny(nextclip_mode="rr", nextclip_size=75).record_notes(lengths)
    assert line.startswith("1 of 4 training records are shorter than 100 + 15 samples")


def test_padding_is_no_target():
    model = tiny().eval()
    x, mask = records(), torch.ones(4, 200, dtype=torch.long)
    mask[:, 150:] = 0
    keywords = {"nextclip_starts": torch.full((4,), 125), "patch_noise": torch.rand(4, 8), "attention_mask": mask}
    output = model(x, **keywords)
    assert output.nextclip_sizes.tolist() == [25] * 4
    want = (output.nextclip[..., :25] - x[..., 125:150]).square().mean()
    torch.testing.assert_close(output.nextclip_loss, want)


@pytest.mark.parametrize("weight", [2.0, 0.5])
def test_the_gradient_is_that_of_the_clip_plus_alpha_times_that_of_the_reconstruction(weight):
    model = tiny(reconstruction_weight=weight).double()
    x = records().double()
    output = model(x, **with_draws(model, x))
    parameters = list(model.parameters())
    parts = [
        torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        for loss in (output.loss, output.nextclip_loss, output.reconstruction_loss)
    ]
    for total, clip, rest in zip(*parts, strict=True):
        zero = torch.zeros_like(total)
        want = (zero if clip is None else clip) + weight * (zero if rest is None else rest)
        torch.testing.assert_close(total, want, rtol=1e-10, atol=1e-13)


def test_a_task_of_weight_zero_is_neither_built_nor_computed():
    x = records()
    model = tiny(reconstruction_weight=0).train()
    assert not hasattr(model, "decoder")
    output = model(x, **with_draws(model, x))
    assert output.reconstruction is None
    output.loss.backward()
    assert model.mae_moco.embeddings.cls_token.grad.abs().max() > 0
    model = tiny(nextclip_weight=0).train()
    assert not hasattr(model, "nextclip_decoder")
    output = model(x, **with_draws(model, x))
    assert output.nextclip is None
    output.loss.backward()
    assert model.mae_moco.embeddings.cls_token.grad is None
    with pytest.raises(CheckpointError, match="nextclip_weight and reconstruction_weight are both 0"):
        tiny(nextclip_weight=0, reconstruction_weight=0)


def test_half_cycles_decide_the_size_in_rr_mode():
    model = tiny(window_size=1000, nextclip_size=75, nextclip_mode="rr")
    beats = torch.as_tensor(synthesize_record(sampling_rate=100, heart_rate=72).signal).float()
    x = torch.stack([beats, torch.zeros_like(beats)])
    assert with_draws(model, x)["nextclip_sizes"].tolist() == pytest.approx([42, 42], abs=1)
    sizes = with_draws(model, records(64, 1000))["nextclip_sizes"]
    assert sizes.min() >= 15
    assert sizes.max() <= 75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nextclip_mode": "rr"}, "Set nextclip_size to 75"),
        ({"nextclip_context_size": 159}, r"window of 201 samples, but window_size is 200.*100 and 42 samples"),
        ({"nextclip_mode": "half"}, "nextclip_mode"),
    ],
)
def test_a_clip_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny(**changes)
    if "nextclip_context_size" in changes:
        # The encoder cuts no clips.
        MaeNextclipModel(MaeNextclipConfig(**{**TINY, **changes}))


def test_mae_moco_opens_the_encoder(tmp_path):
    model = tiny().eval()
    x = records()
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mae_nextclip"
    with torch.no_grad():
        want = model.mae_moco(x).pooler_output
        assert type(AutoModel.from_pretrained(tmp_path)) is MaeNextclipModel
        encoder, info = MaeMocoModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        torch.testing.assert_close(encoder(x).pooler_output, want, rtol=1e-5, atol=1e-5)


def test_both_tasks_are_learned():
    model = tiny(window_size=900, nextclip_size=150, nextclip_context_size=360, hidden_size=64, decoder_hidden_size=32)
    signals = [synthesize_record(duration=9, sampling_rate=100, heart_rate=rate).signal for rate in range(60, 100, 5)]
    x = torch.stack([torch.as_tensor(signal).float() for signal in signals])
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    starts = torch.linspace(360, 750, len(x)).long()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    history = []
    for step in range(150):
        noise = torch.rand(len(x), 36, generator=torch.Generator().manual_seed(step))
        output = model(x, patch_noise=noise, nextclip_starts=starts)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        history.append([output.nextclip_loss.item(), output.reconstruction_loss.item()])
    first, last = torch.tensor(history[:5]).mean(0), torch.tensor(history[-5:]).mean(0)
    assert last[0] < 0.5 * first[0]
    assert last[1] < 0.8 * first[1]
