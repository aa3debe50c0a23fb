"""Properties of the MAE-MoCo model beyond the recorded fixtures."""

import json
import logging
import math

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoModelForSequenceClassification

from ecg_transformers import MaeMocoConfig, MaeMocoForPreTraining, MaeMocoModel
from ecg_transformers.augmentations.row_generator import RowGenerator
from ecg_transformers.errors import CheckpointError, SignalError
from ecg_transformers.features.steps import patchify
from ecg_transformers.objectives.masking import random_patch_mask, select_patches
from ecg_transformers.objectives.progress import Progress

from ..conftest import count
from ..testers.mae_moco import SIZES

TINY = {
    "num_leads": 12,
    "sampling_rate": 100,
    "window_size": 200,
    **SIZES,
    "projector_hidden_size": 16,
    "projection_size": 16,
    "queue_size": 20,
}


def tiny(**changes):
    torch.manual_seed(0)
    return MaeMocoForPreTraining(MaeMocoConfig(**{**TINY, **changes}))


def records(batch=4, seed=1, **changes):
    config = {**TINY, **changes}
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config["num_leads"], config["window_size"], generator=generator)


def with_draws(model, x, seed=2):
    return model.apply_draws({"input_values": x}, model.draw(RowGenerator(len(x), seed=seed)))


def test_published_size_has_the_published_parameter_counts():
    model = MaeMocoForPreTraining(MaeMocoConfig())
    encoder = model.mae_moco
    assert count(encoder.embeddings.patch_embeddings) == 154_112
    assert encoder.embeddings.cls_token.numel() + encoder.embeddings.position_embeddings.numel() == 74_752
    assert count(encoder.encoder.layer[0]) == 2_102_784
    assert count(encoder) == 12_846_592
    assert count(model.projector) == 98_816
    assert count(model.decoder) == 773_164
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 13_718_572
    assert count(model) == 26_663_980
    assert model.queue.keys.numel() == 8_388_608
    full = MaeMocoConfig(projector_bias=True, projector_last_norm_affine=True)
    assert count(MaeMocoForPreTraining._projection_head(full)) == 99_456


def gflop_per_record(run):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2 / 1e9


def test_published_size_has_the_published_shapes_and_cost():
    model = MaeMocoForPreTraining(MaeMocoConfig(attn_implementation="eager")).eval()
    x = torch.randn(2, 12, 3600)
    with torch.no_grad():
        output = model(x, **with_draws(model, x))
        encoded = model.mae_moco(x)
    assert encoded.last_hidden_state.shape == output.last_hidden_state.shape == (2, 145, 512)
    assert torch.equal(encoded.pooler_output, encoded.last_hidden_state[:, 0])
    assert output.reconstruction.shape == (2, 144, 300)
    assert output.logits.shape == (2, 1 + 65536)

    mask = random_patch_mask(torch.rand(2, 144), 0.75)
    visible = select_patches(patchify(x, 25), mask.ids_keep)
    # As published, which embeds all patches in the masked pass (0.966), ours only the visible ones.
    assert gflop_per_record(lambda: model.mae_moco(x)) == pytest.approx(3.952, abs=0.001)
    masked = gflop_per_record(lambda: model.mae_moco.encode_visible(visible, mask.ids_keep, None, False))
    assert masked == pytest.approx(0.966 - 0.75 * 2 * 144 * 300 * 512 / 1e9, abs=0.001)
    latents = torch.randn(2, 36, 512)
    assert gflop_per_record(lambda: model.decoder(latents, mask.ids_restore)) == pytest.approx(0.204, abs=0.001)


def test_masks_repeat_with_their_noise_and_remove_three_quarters():
    noise = torch.rand(5, 144)
    mask = random_patch_mask(noise, 0.75)
    assert mask.patch_mask.sum(1).eq(108).all()
    assert torch.equal(random_patch_mask(noise, 0.75).ids_keep, mask.ids_keep)
    assert not torch.equal(random_patch_mask(torch.rand(5, 144), 0.75).ids_keep, mask.ids_keep)


def test_only_visible_patches_reach_the_latents():
    model = tiny().mae_moco.eval()
    x = records()
    mask = random_patch_mask(torch.rand(4, 8), 0.75)

    def latents(values):
        visible = select_patches(patchify(values, 25), mask.ids_keep)
        return model.encode_visible(visible, mask.ids_keep, None, False)

    removed = mask.patch_mask.bool().repeat_interleave(25, dim=1)[:, None]
    with torch.no_grad():
        before = latents(x)
        torch.testing.assert_close(latents(torch.where(removed, x + 5, x)), before, rtol=0, atol=1e-5)
        assert not torch.allclose(latents(torch.where(removed, x, x + 5)), before, rtol=0, atol=1e-3)


def test_reconstruction_scopes():
    x = records()
    model = tiny().eval()
    draws = with_draws(model, x)
    masked = model(x, **draws).reconstruction_loss
    model.config.reconstruction_scope = "all"
    output = model(x, **draws)
    error = (output.reconstruction - patchify(x, 25)).square().mean(-1)
    visible = error[output.patch_mask == 0].mean()
    torch.testing.assert_close(output.reconstruction_loss, masked * 6 / 8 + visible * 2 / 8)


def test_without_removal_the_masked_pass_is_the_full_pass():
    model = tiny(mask_ratio=0.0).mae_moco.eval()
    x = records()
    ids = random_patch_mask(torch.arange(8.0).expand(4, -1), 0.0).ids_keep
    with torch.no_grad():
        masked = model.encode_visible(select_patches(patchify(x, 25), ids), ids, None, True)
        torch.testing.assert_close(masked, model(x).last_hidden_state[:, 1:], rtol=0, atol=1e-6)


def test_keys_come_from_the_momentum_encoder_after_its_update():
    model = tiny(momentum=0.0).train()
    with torch.no_grad():
        for parameter in model.momentum_encoder.parameters():
            parameter.add_(0.01)
    x = records()
    draws = with_draws(model, x)
    keys = model(x, **draws).positive_keys
    same = tiny(momentum=0.0).train()(x, views=draws["views"].flip(1), patch_noise=draws["patch_noise"])
    torch.testing.assert_close(keys, same.queries.detach(), rtol=0, atol=1e-5)


def test_own_key_becomes_a_negative_only_in_the_next_step():
    model = tiny().train()
    x = records()
    first = model(x, **with_draws(model, x, seed=3))
    keys = first.positive_keys
    difference = (model.queue.keys.T[None] - keys[:, None]).abs().amax(-1).amin(1)
    assert difference.max() == 0
    assert torch.allclose(first.logits[:, 0], (first.queries * keys).sum(1) / 0.2)
    assert first.logits[:, 1:].max() < 0.99 / 0.2


def test_keys_of_the_same_source_are_no_negatives():
    model = tiny(same_source="exclude").eval()
    x = records()
    with torch.no_grad():
        model.queue.sources[:4] = torch.tensor([7, 8, 7, -1])
        draws = with_draws(model, x)
        output = model(x, **draws, patient_ids=torch.tensor([7, 8, 9, -1]))
    excluded = output.logits[:, 1:].isneginf()
    assert excluded.sum(1).tolist() == [2, 1, 0, 0]
    rows = [torch.cat([row[:1], row[1:][~gone]]) for row, gone in zip(output.logits, excluded, strict=True)]
    expected = torch.stack([-row.log_softmax(0)[0] for row in rows]).mean()
    torch.testing.assert_close(output.contrastive_loss, expected)


def test_same_source_needs_ids():
    x = records()
    model = tiny(same_source="exclude").eval()
    with pytest.raises(CheckpointError, match="neither patient_ids nor record_ids"):
        model(x, **with_draws(model, x))


def test_the_flag_of_older_configurations_still_opens(tmp_path):
    for flag, word in ((True, "exclude"), (False, "ignore")):
        config = MaeMocoConfig(**TINY)
        config.save_pretrained(tmp_path)
        file = tmp_path / "config.json"
        stored = json.loads(file.read_text())
        del stored["same_source"]
        file.write_text(json.dumps({**stored, "exclude_same_source": flag}))
        loaded = MaeMocoConfig.from_pretrained(tmp_path)
        assert loaded.same_source == word
        assert "exclude_same_source" not in loaded.to_dict()


def test_without_a_queue_the_batch_is_the_dictionary():
    model = tiny(queue_size=0).train()
    x = records()
    output = model(x, **with_draws(model, x))
    assert not any(name.startswith("queue") for name in model.state_dict())
    products = output.queries @ output.positive_keys.T / 0.2
    torch.testing.assert_close(output.contrastive_loss, functional.cross_entropy(products, torch.arange(4)))
    output.loss.backward()
    assert all(p.grad is not None for p in model.projector.parameters())


@torch.no_grad()
def test_positives_are_chosen_from_the_queue_after_the_warmup():
    x = records()
    plain, model = tiny().eval(), tiny(sampling="srcl", num_extra_positives=2).eval()
    draws = with_draws(plain, x)
    want = plain(x, **draws)
    model.before_step(Progress(9, 100, 0.0))
    early = model(x, **draws)
    model.before_step(Progress(10, 100, 0.0))
    late = model(x, **draws)
    torch.testing.assert_close(early.contrastive_loss, want.contrastive_loss)
    assert [early.num_positives, early.sampling_active, late.num_positives, late.sampling_active] == [0, 0, 2, 1]
    logits = want.logits
    top = torch.cat([logits[:, :1], logits[:, 1:].topk(2).values], dim=1)
    expected = (logits.logsumexp(1) - top.logsumexp(1)).mean()
    torch.testing.assert_close(late.contrastive_loss, expected)
    none_added = tiny(sampling="srcl", num_extra_positives=0).eval()(x, **draws)
    torch.testing.assert_close(none_added.contrastive_loss, want.contrastive_loss)
    own = (want.queries * want.positive_keys).sum(1).mean()
    torch.testing.assert_close(want.positive_similarity, own)


def test_a_threshold_that_is_no_cosine_is_refused():
    with pytest.raises(CheckpointError, match=r"ds_threshold is 1\.5"):
        tiny(ds_threshold=1.5)


def test_record_ids_stand_in_for_missing_patients():
    model = tiny(same_source="exclude").train()
    x = records()
    model(x, **with_draws(model, x), record_ids=torch.arange(4))
    assert model.queue.sources[:4].tolist() == [-2, -3, -4, -5]


def test_unfilled_columns_can_be_left_out():
    model = tiny(queue_ignore_unfilled=True).train()
    x = records()
    assert model(x, **with_draws(model, x)).contrastive_loss == 0
    second = model(x, **with_draws(model, x, seed=9))
    assert second.logits.isfinite().sum(1).eq(1 + 4).all()


def test_each_task_trains_its_own_parts():
    x = records()
    model = tiny().train()
    output = model(x, **with_draws(model, x))
    output.reconstruction_loss.backward(retain_graph=True)
    cls = model.mae_moco.embeddings.cls_token
    assert cls.grad is None or cls.grad.abs().max() == 0
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in model.projector.parameters())
    decoder = {n: p.grad.clone() for n, p in model.decoder.named_parameters()}
    output.contrastive_loss.backward()
    assert cls.grad.abs().max() > 0
    assert any(p.grad.abs().max() > 0 for p in model.projector.parameters())
    assert all(torch.equal(p.grad, decoder[n]) for n, p in model.decoder.named_parameters())


def test_total_is_the_weighted_sum():
    x = records()
    model = tiny(reconstruction_weight=7.0).eval()
    output = model(x, **with_draws(model, x))
    torch.testing.assert_close(output.loss, output.contrastive_loss + 7 * output.reconstruction_loss, rtol=1e-6, atol=0)
    model.loss_weights["reconstruction_loss"] = 0.0
    torch.testing.assert_close(model(x, **with_draws(model, x)).loss, output.contrastive_loss)


def test_padding_neither_attends_nor_counts():
    model = tiny().eval()
    x = records()
    mask = torch.ones(4, 200)
    mask[:, 120:] = 0
    x = x * mask[:, None]
    noisy = x + 3 * (1 - mask[:, None]) * (torch.arange(200) >= 125)
    with torch.no_grad():
        short, same = (model.mae_moco(values, attention_mask=mask) for values in (x, noisy))
        torch.testing.assert_close(short.pooler_output, same.pooler_output, rtol=0, atol=1e-6)
        draws = with_draws(model, x)
        loss = model(x, **draws, attention_mask=mask).reconstruction_loss
        changed = model(noisy, **draws, attention_mask=mask).reconstruction_loss
    torch.testing.assert_close(loss, changed, rtol=0, atol=1e-6)


def test_patches_and_signal_give_the_same():
    model = tiny().mae_moco.eval()
    x = records()
    with torch.no_grad():
        found, expected = model(patches=patchify(x, 25)).pooler_output, model(x).pooler_output
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(SignalError, match="exactly one"):
        model()


@pytest.mark.parametrize("embedding", ["linear", "convolution"])
@pytest.mark.parametrize("leads", [1, 2, 12])
def test_any_number_of_leads_and_both_embeddings_train(embedding, leads):
    model = tiny(num_leads=leads, patch_embedding=embedding).train()
    x = records(num_leads=leads)
    model(x, **with_draws(model, x)).loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_convolutions_stay_inside_their_patch():
    model = tiny(patch_embedding="convolution").mae_moco.eval()
    x = records()
    other = x.clone()
    other[..., 50:75] += 1
    with torch.no_grad():
        a, b = (model.embeddings(patchify(values, 25)) for values in (x, other))
    changed = ((a - b).abs() > 1e-5).any(-1)
    assert changed[:, 2].all()
    assert not changed[:, [0, 1, 3, 4, 5, 6, 7]].any()


def test_another_window_needs_interpolation_on_request(tmp_path):
    model = tiny().eval()
    model.save_pretrained(tmp_path)
    longer = MaeMocoModel.from_pretrained(tmp_path, window_size=400, interpolate_positions=True)
    assert longer(torch.zeros(1, 12, 400)).last_hidden_state.shape == (1, 17, 32)
    table = longer.embeddings.position_embeddings
    assert torch.equal(table[:, 0], model.mae_moco.embeddings.position_embeddings[:, 0])
    whole = MaeMocoForPreTraining.from_pretrained(tmp_path, window_size=400, interpolate_positions=True)
    x = torch.randn(2, 12, 400)
    assert whole(x).reconstruction.shape == (2, 16, 300)
    for load in (MaeMocoModel.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(CheckpointError, match=r"windows of 200 samples.*400.*interpolate_positions=True"):
            load(tmp_path, window_size=400)
    classifier = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, window_size=400, interpolate_positions=True, num_labels=7
    )
    assert classifier(x).logits.shape == (2, 7)


def test_only_pretraining_needs_a_visible_patch(tmp_path):
    # A quarter of 2 patches: none would stay visible.
    config = MaeMocoConfig(**{**TINY, "window_size": 50})
    assert MaeMocoModel(config)(torch.zeros(1, 12, 50)).pooler_output.shape == (1, 32)
    with pytest.raises(CheckpointError, match="keeps int"):
        MaeMocoForPreTraining(config)
    tiny().mae_moco.save_pretrained(tmp_path)
    short = AutoModel.from_pretrained(tmp_path, window_size=50, interpolate_positions=True)
    assert short(torch.zeros(1, 12, 50)).last_hidden_state.shape == (1, 3, 32)
    tiny().save_pretrained(tmp_path / "pretraining")
    with pytest.raises(CheckpointError, match="keeps int"):
        MaeMocoForPreTraining.from_pretrained(tmp_path / "pretraining", window_size=50, interpolate_positions=True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"window_size": 1010}, "1000 or 1025"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"num_attention_heads": 7}, "divisible"),
        ({"temperature": 0.0}, "temperature"),
        ({"lead_names": ["I", "II"]}, "num_leads"),
        ({"mask_ration": 0.5}, "Did you mean 'mask_ratio'"),
        ({"pooling": "median"}, "pooling"),
    ],
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(CheckpointError, match=words):
        MaeMocoConfig(**fields)


def test_wrong_type_is_refused():
    with pytest.raises(Exception, match="patch_size"):
        MaeMocoConfig(patch_size="25")


def test_bfloat16_step_keeps_float32_keys():
    model = tiny().train()
    x = records()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x, **with_draws(model, x))
    assert output.loss.isfinite()
    assert output.positive_keys.dtype == model.queue.keys.dtype == torch.float32
    assert (output.positive_keys.norm(dim=1) - 1).abs().max() < 1e-3
    output.loss.backward()


def test_sincos_start():
    model = tiny(position_initialization="sincos")
    table = model.mae_moco.embeddings.position_embeddings
    assert table[:, 0].abs().max() == 0
    assert table[0, 1, :16].abs().max() == 0
    assert table[0, 1, 16:].eq(1).all()
    assert torch.equal(model.decoder.position_embeddings[0, 1, 8:9], torch.tensor([math.cos(1.0)]))


def test_start_values_are_the_published_ones():
    torch.manual_seed(0)
    model = MaeMocoModel(MaeMocoConfig(**{**TINY, "hidden_size": 128}))
    bound = math.sqrt(6 / (300 + 128))
    weight = model.embeddings.patch_embeddings.weight
    assert bound * 0.97 < weight.abs().max() <= bound
    linear = model.encoder.layer[0].attention.query
    assert math.sqrt(6 / 256) * 0.95 < linear.weight.abs().max() <= math.sqrt(6 / 256)
    assert linear.bias.abs().max() == 0
    assert model.embeddings.position_embeddings.std().item() == pytest.approx(0.02, rel=0.1)


def training_flops(model, x):
    with FlopCounterMode(display=False) as counter:
        model(x, **with_draws(model, x)).loss.backward()
    return counter.get_total_flops()


def test_a_task_of_weight_zero_is_neither_built_nor_computed():
    fields = {**TINY, "window_size": 1000, "queue_size": 256, "attn_implementation": "eager"}
    x = records(window_size=1000)
    models = [
        MaeMocoForPreTraining(MaeMocoConfig(**fields, **weights)).train()
        for weights in ({}, {"contrastive_weight": 0}, {"reconstruction_weight": 0})
    ]
    joint, mae, moco = (training_flops(model, x) for model in models)
    assert mae + moco == pytest.approx(joint)
    # In the published size 0.18 and 0.82; the decoder of this one is large beside its encoder.
    assert mae < 0.3 * joint
    children = [{name for name, _ in model.named_children()} for model in models]
    assert children[1] == {"mae_moco", "decoder"}
    assert children[2] == {"mae_moco", "projector", "momentum_encoder", "momentum_projector", "queue"}
    assert [set(model.loss_weights) for model in models[1:]] == [{"reconstruction_loss"}, {"contrastive_loss"}]
    draws = [set(model.draw(RowGenerator(4, seed=0))) for model in models]
    assert draws[1] == {"patch_noise"}
    assert draws[2] == draws[0] - draws[1]
    with pytest.raises(CheckpointError, match="both 0"):
        tiny(contrastive_weight=0.0, reconstruction_weight=0.0)


@pytest.mark.parametrize("absent", ["contrastive", "reconstruction"])
def test_one_task_alone_gives_the_same_loss_as_in_the_whole_and_no_fields_of_the_other(absent, tmp_path):
    whole = tiny(reconstruction_weight=7.0).eval()
    whole.save_pretrained(tmp_path / "whole")
    part = MaeMocoForPreTraining.from_pretrained(tmp_path / "whole", **{f"{absent}_weight": 0})
    x = records()
    with torch.no_grad():
        both, one = (model(x, **with_draws(whole, x)) for model in (whole, part))
    for name, value in one.items():
        if name != "loss":
            torch.testing.assert_close(value, both[name], msg=name)
    assert both.keys() - one.keys() == {
        "contrastive": {
            "contrastive_loss", "logits", "queries", "positive_keys", "last_hidden_state",
            *MaeMocoForPreTraining.logged_values,
        },
        "reconstruction": {"reconstruction_loss", "reconstruction", "patch_mask", "ids_restore"},
    }[absent]  # fmt: skip
    part.save_pretrained(tmp_path / "part")
    again, info = MaeMocoForPreTraining.from_pretrained(tmp_path / "part", output_loading_info=True)
    assert not info["missing_keys"]
    encoder, info = MaeMocoModel.from_pretrained(tmp_path / "part", output_loading_info=True)
    assert not info["missing_keys"]
    torch.testing.assert_close(encoder(x).last_hidden_state, again.mae_moco(x).last_hidden_state)
    restored = MaeMocoForPreTraining.from_pretrained(tmp_path / "part", **{f"{absent}_weight": 1.0})
    if absent == "contrastive":
        for name, parameter in restored.momentum_encoder.named_parameters():
            assert torch.equal(parameter, restored.mae_moco.get_parameter(name))
            assert not parameter.requires_grad


def test_the_key_of_older_configs_is_read_silently_and_not_written(tmp_path):
    model = tiny()
    model.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "momentum_update_in_forward": False}))
    messages = []
    handler = logging.Handler()
    handler.emit = lambda entry: messages.append(entry.getMessage())
    logging.getLogger("ecg_transformers").addHandler(handler)
    loaded = MaeMocoForPreTraining.from_pretrained(tmp_path).train()
    logging.getLogger("ecg_transformers").removeHandler(handler)
    assert not messages
    assert not hasattr(loaded.config, "momentum_update_in_forward")
    with torch.no_grad():
        loaded.mae_moco.embeddings.cls_token.add_(1.0)
        before = loaded.momentum_encoder.embeddings.cls_token.clone()
        loaded(records(), **with_draws(loaded, records()))
    assert not torch.equal(loaded.momentum_encoder.embeddings.cls_token, before)


def learning_model(**changes):
    torch.manual_seed(0)
    fields = {
        **TINY,
        "num_leads": 12,
        "window_size": 900,
        "hidden_size": 64,
        "intermediate_size": 128,
        "decoder_hidden_size": 32,
        "decoder_intermediate_size": 64,
        "projector_hidden_size": 32,
        "projection_size": 32,
        "queue_size": 64,
        "same_source": "exclude",
        **changes,
    }
    return MaeMocoForPreTraining(MaeMocoConfig(**fields)).train()


def synthetic_records(number):
    """Beats at a rate of its own for each record, with lead amplitudes of its own."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(900) / 360
    rate = 0.8 + torch.rand(number, 1, generator=generator)
    phase = (time * rate + torch.rand(number, 1, generator=generator)) % 1
    beat = torch.exp(-(((phase - 0.5) / 0.03) ** 2)) + 0.3 * torch.exp(-(((phase - 0.75) / 0.08) ** 2))
    x = beat[:, None] * torch.randn(number, 12, 1, generator=generator)
    x = x + 0.02 * torch.randn(number, 12, 900, generator=generator)
    return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


def test_contrast_is_learned():
    model = learning_model(reconstruction_weight=1.0)
    x = synthetic_records(32)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(160):
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randperm(32, generator=generator)[:16]
        output = model(x[chosen], **with_draws(model, x[chosen], seed=step), record_ids=chosen)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.contrastive_loss.item())
    assert sum(losses[-20:]) <= 0.5 * sum(losses[10:30])
    model.eval()
    with torch.no_grad():
        output = model(x, **with_draws(model, x), record_ids=torch.arange(32))
    nearest = (output.queries @ output.positive_keys.T).argmax(1)
    assert (nearest == torch.arange(32)).float().mean() >= 0.9


def test_reconstruction_is_learned():
    model = learning_model(reconstruction_weight=40.0, queue_size=16)
    x = synthetic_records(8)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for step in range(220):
        output = model(x, **with_draws(model, x, seed=step), record_ids=torch.arange(8))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(output.reconstruction_loss.item())
    assert sum(losses[-20:]) <= 0.5 * sum(losses[:20])


@pytest.mark.parametrize("weight", [-1, -1e-9, math.inf, math.nan])
@pytest.mark.parametrize("name", ["contrastive_weight", "reconstruction_weight"])
def test_the_weight_of_a_loss_term_is_not_negative(name, weight):
    with pytest.raises(CheckpointError, match=rf"{name} is .*at least 0"):
        MaeMocoConfig(**{name: weight})
