"""SI-BeatGAN and V2, beyond the recorded values: the teacher, the terms that reach the student, the contrast."""

import json

import pytest
import torch

from ecg_transformers import (
    BeatganConfig,
    BeatganForAnomalyDetection,
    BeatganForPreTraining,
    SiBeatganConfig,
    SiBeatganForAnomalyDetection,
    SiBeatganForPreTraining,
)
from ecg_transformers.errors import CheckpointError

from ..conftest import drawn
from .beats import ALONE, SMALL, V2, beatgan, beats, si_beatgan, teacher

TERMS = ("output", "latent", "feature", "attention", "score")
NONE = {f"{term}_distillation_weight": 0.0 for term in TERMS}


def only(term, **changes):
    """A student that learns one term alone."""
    model = si_beatgan(**{**NONE, f"{term}_distillation_weight": 1.0, **changes})
    model.set_teacher(teacher())
    return model.train()


def gradients(model, x, term, **inputs):
    """Of one term, in the phase of the generator."""
    model.zero_grad()
    output = model(x, phase="generator", **inputs)
    torch.autograd.backward(output[f"{term}_loss"])
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def step(model, optimizer, x, **inputs):
    """One step of both phases, as the Trainer does it."""
    loss = None
    phases = list(model.phases) or [None]
    for phase in phases:
        output = model(x, phase=phase, **inputs)
        inputs = {**inputs, **(output.handed or {})}
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = output.loss.item()
    return loss


@pytest.mark.parametrize("term", TERMS)
def test_every_term_reaches_every_parameter_of_the_generator_it_concerns_and_no_discriminator(term):
    model, x = only(term), beats()
    found = gradients(model, x, f"{term}_distillation")
    # Latent vectors and attention are the encoder's alone; the attention also sees no layer behind its last stage.
    parts = ("beatgan.",) if term in ("latent", "attention") else ("beatgan.", "decoder.")
    behind = ("beatgan.latent.",) if term == "attention" else ()
    for name, gradient in found.items():
        if name.startswith(parts) and not name.startswith(behind):
            assert gradient is not None, name
            assert gradient.abs().max() > 0, name
        elif name.startswith("discriminator."):
            assert gradient is None, name


@pytest.mark.parametrize("term", TERMS)
def test_one_changed_weight_of_the_student_changes_every_term(term):
    model, x = only(term), beats()
    name = f"{term}_distillation_loss"
    before = model(x, phase="generator")[name].item()
    with torch.no_grad():
        model.beatgan.features.stages[0].conv.weight[0, 0, 0] += 0.5
    assert model(x, phase="generator")[name].item() != before


def test_the_published_constant_changes_no_gradient():
    found = []
    for weight in (0.0, 1.0):
        model = si_beatgan(published_distillation_weight=weight).train()
        model.set_teacher(teacher())
        output = model(beats(), phase="generator")
        output.loss.backward()
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert output.published_distillation_loss > 0
    assert not output.published_distillation_loss.requires_grad
    for name, gradient in found[0].items():
        assert (gradient is None) == (found[1][name] is None)
        assert gradient is None or torch.equal(gradient, found[1][name]), name


def test_the_teacher_stays_as_it_is():
    master = teacher()
    before = {name: value.clone() for name, value in master.state_dict().items()}
    weights = {f"{term}_distillation_weight": 0.1 for term in TERMS}
    model = si_beatgan(**weights).train()
    model.set_teacher(master)
    model.train()
    assert not master.training
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for seed in range(20):
        step(model, optimizer, beats(seed=seed))
        assert all(parameter.grad is None for parameter in master.parameters())
    after = master.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any("teacher" in name for name, _ in [*model.named_parameters(), *model.named_buffers()])


@torch.no_grad()
def test_a_student_with_the_teachers_weights_has_nothing_left_to_learn():
    master = teacher()
    model = si_beatgan(**{f"{term}_distillation_weight": 1.0 for term in TERMS})
    model.load_state_dict(master.state_dict())
    model.set_teacher(master)
    output = model.eval()(beats())
    for term in TERMS:
        assert abs(output[f"{term}_distillation_loss"].item()) < 1e-10, term


def test_without_weights_a_student_is_a_beatgan_bit_for_bit():
    plain, student = beatgan().train(), si_beatgan(**NONE).train()
    assert plain.state_dict().keys() == student.state_dict().keys()
    for model in (plain, student):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for seed in range(5):
            step(model, optimizer, beats(seed=seed))
    for name, value in plain.state_dict().items():
        assert torch.equal(student.state_dict()[name], value), name


def test_a_student_of_half_the_width_and_another_latent_size():
    model = si_beatgan(base_channels=2, latent_size=3, teacher_latent_size=6, attention_distillation_weight=1.0).train()
    model.set_teacher(teacher())
    assert model.latent_adapter.weight.shape == (6, 3)
    assert "latent_adapter" in model.phases["generator"]
    output = model(beats(), phase="generator")
    output.loss.backward()
    assert model.latent_adapter.weight.grad.abs().sum() > 0


def test_raw_distances_and_those_relative_to_the_teacher():
    raw, relative = (only("latent", relative_distillation=flag).eval() for flag in (False, True))
    x = beats()
    with torch.no_grad():
        target = raw.teacher.generate_beats(x).latent
        variance = target.var(dim=0, correction=0).mean()
        expected = raw(x).latent_distillation_loss / variance
        torch.testing.assert_close(relative(x).latent_distillation_loss, expected)


# ---- the teacher in files ------------------------------------------------------------------------------------------


def test_the_teacher_is_opened_by_name_noted_and_not_saved(tmp_path):
    teacher().save_pretrained(tmp_path / "teacher")
    model = si_beatgan(teacher=str(tmp_path / "teacher"), feature_distillation_weight=0.1).train()
    model(beats())
    model.save_pretrained(tmp_path / "student")
    written = json.loads((tmp_path / "student" / "config.json").read_text())
    assert written["teacher"] == str(tmp_path / "teacher")
    assert len(written["teacher_hash"]) == 32
    assert written["teacher_hash"] == model.config.teacher_hash
    again = SiBeatganForPreTraining.from_pretrained(tmp_path / "student").train()
    assert again.state_dict().keys() == beatgan().state_dict().keys()
    again(beats())
    # Whatever scores needs no teacher.
    (tmp_path / "teacher" / "model.safetensors").unlink()
    detector = SiBeatganForAnomalyDetection.from_pretrained(tmp_path / "student")
    with torch.no_grad():
        assert detector(beats()).score.shape == (16,)
    # Another teacher under that name.
    beatgan().save_pretrained(tmp_path / "teacher")
    again = SiBeatganForPreTraining.from_pretrained(tmp_path / "student").train()
    with pytest.raises(CheckpointError, match="the student learned from"):
        again(beats())


def test_what_a_teacher_must_be_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="output_distillation_loss, latent_distillation_loss need a teacher"):
        si_beatgan().train()(beats())
    model = si_beatgan()
    for changes, words in (
        ({"window_size": 128}, "teacher has window_size 128, the student 64"),
        ({"num_leads": 2}, "teacher has num_leads 2, the student 1"),
        ({"latent_size": 5}, "latent_size is 5, but 6 was expected. Set teacher_latent_size to 5"),
    ):
        with pytest.raises(CheckpointError, match=words):
            model.set_teacher(BeatganForPreTraining(BeatganConfig(**{**SMALL, **changes})))
    with pytest.raises(CheckpointError, match="needs a teacher with a discriminator"):
        si_beatgan(feature_distillation_weight=1.0).set_teacher(beatgan(feature_matching_weight=0.0))
    with pytest.raises(CheckpointError, match="compares stage by stage"):
        si_beatgan(attention_distillation_weight=1.0, latent_distillation_weight=0.0).set_teacher(
            beatgan(num_hidden_layers=2)
        )
    # A published detector has no discriminator.
    BeatganForAnomalyDetection(BeatganConfig(**SMALL)).save_pretrained(tmp_path)
    fits = si_beatgan(teacher=str(tmp_path)).train()
    assert fits(beats()).output_distillation_loss > 0
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors, first discriminator\..*set feature_dist"):
        si_beatgan(teacher=str(tmp_path), feature_distillation_weight=1.0).train()(beats())


# ---- V2 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contrast_on", ["latent", "discriminator"])
def test_the_contrast_trains_encoder_and_head_and_leaves_the_statistics_alone(contrast_on):
    x, found = beats(), []
    learning, phase = ("beatgan.", "generator") if contrast_on == "latent" else ("discriminator.", "discriminator")
    for changes in ({}, {**V2, "negatives": "all", "contrast_on": contrast_on}):
        model = si_beatgan(**ALONE, **changes).train()
        model.load_state_dict(si_beatgan(**ALONE).state_dict(), strict=False)
        output = model(x, phase=phase, **drawn(model, x))
        found.append({name: value.clone() for name, value in model.named_buffers()})
    assert all(torch.equal(found[1][name], value) for name, value in found[0].items())
    output.contrastive_loss.backward()
    for name, parameter in model.named_parameters():
        behind = name.startswith("discriminator.classifier")
        expected = name.startswith((learning, "projector.")) and not behind
        assert (parameter.grad is not None and bool(parameter.grad.abs().max() > 0)) == expected, name
    assert "projector" in model.phases[phase]


def test_views_are_two_different_warps_of_each_beat():
    model, x = si_beatgan(**ALONE, **V2, negatives="all"), beats()
    views = drawn(model, x)["views"]
    assert views.shape == (16, 2, 1, 64)
    assert not torch.equal(views[:, 0], views[:, 1])
    assert (views - x[:, None]).abs().mean() < 0.2
    # The R peak stays at its place: its sample is a value of the beat, or the mean with the next one.
    peak = views[:, :, 0, 28]
    alone, mean = x[:, 0, 28], (x[:, 0, 28] + x[:, 0, 29]) / 2
    nearest = torch.minimum((peak - alone[:, None]).abs(), (peak - mean[:, None]).abs())
    assert (nearest < 1e-6).float().mean() > 0.7


def test_beats_of_one_recording_are_no_negatives():
    model, x = si_beatgan(**ALONE, **V2).eval(), beats()
    views = drawn(model, x)["views"]
    with torch.no_grad():
        one = model(x, views=views, parent_ids=torch.zeros(16, dtype=torch.long))
        many = model(x, views=views, parent_ids=torch.arange(16))
        everything = si_beatgan(**ALONE, **V2, negatives="all").eval()(x, views=views)
    # No negative is left.
    assert one.contrastive_loss == 0
    torch.testing.assert_close(many.contrastive_loss, everything.contrastive_loss)
    assert everything.contrastive_loss > 0


@pytest.mark.parametrize(
    ("negatives", "words"),
    [("exclude_same_record", "no parent_ids"), ("exclude_neighbors", "no parent_ids and no starts")],
)
def test_recordings_that_are_not_known_are_asked_for(negatives, words):
    model, x = si_beatgan(**ALONE, **V2, negatives=negatives).train(), beats()
    with pytest.raises(CheckpointError, match=rf"'{negatives}', but the batch has {words}.*'exclude_nearest'"):
        model(x)


def test_a_contrast_on_no_discriminator_is_refused():
    with pytest.raises(CheckpointError, match="feature_matching_weight 0 there is none"):
        SiBeatganConfig(**V2, contrast_on="discriminator", feature_matching_weight=0.0)


def test_both_losses_fall():
    model = si_beatgan(**V2, negatives="all").train()
    model.set_teacher(teacher())
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.999))
    losses = [step(model, optimizer, beats(32), **drawn(model, beats(32), seed)) for seed in range(40)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
