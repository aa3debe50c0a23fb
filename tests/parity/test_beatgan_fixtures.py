"""BeatGAN against numbers recorded from hi-bingo/BeatGAN: networks, losses, updates, moments, scores, warps.

Fixtures in `data/beatgan/`; what they hold was computed in float64. Distillation and NT-Xent are ours.
"""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ecg_transformers import BeatganConfig, BeatganForAnomalyDetection, BeatganForPreTraining
from ecg_transformers.augmentations.time_warp import warp_beats, warp_places
from ecg_transformers.conversion import OfficialState
from ecg_transformers.models.beatgan.convert_beatgan import our_discriminator, our_generator
from ecg_transformers.objectives.adversarial import mean_squared_error
from ecg_transformers.objectives.distillation import (
    attention_distillation,
    published_distillation,
    score_distillation,
)
from ecg_transformers.objectives.negatives import excluded_negatives
from ecg_transformers.objectives.ntxent import nt_xent
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer
from ecg_transformers.trainer.callbacks import LossCallback

from .recorded import DATA, assert_near, part

FOLDER = DATA / "beatgan"
SMALL = {"base_channels": 4, "latent_size": 10}
NUMBERS = 1e-9
STATES = 1e-12
ADAM = {"learning_rate": 1e-4, "adam_beta1": 0.5, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "weight_decay": 0.0}


def metadata(name, key):
    with safe_open(str(FOLDER / f"{name}.safetensors"), framework="pt") as file:
        return json.loads(file.metadata()[key])


def ours(tensors, prefix=""):
    """A recorded state of both networks, or of one of them, under our names."""
    tensors = part(tensors, prefix)
    found = {}
    if any(name.startswith("G.") for name in tensors):
        found |= our_generator(OfficialState(part(tensors, "G."), "G"))
    if any(name.startswith("D.") for name in tensors):
        found |= our_discriminator(OfficialState(part(tensors, "D."), "D"))
    return found


def build(state, dtype=torch.float64, **fields):
    model = BeatganForPreTraining(BeatganConfig(**{**SMALL, **fields})).to(dtype)
    assert model.load_state_dict({name: value.to(dtype) if value.is_floating_point() else value
                                  for name, value in state.items()}).missing_keys == []  # fmt: skip
    return model


class Noted(LossCallback):
    """Scalars of all outputs, in full precision (the log has float32)."""

    def __init__(self):
        self.values = {}

    def on_compute_loss(self, args, state, control, model, inputs, outputs):
        self.values |= {name: value.item() for name, value in outputs.items() if getattr(value, "ndim", 1) == 0}


class Steps:
    """Steps of our Trainer on given batches, with their losses and the gradients that met the optimizer."""

    def __init__(self, model, folder):
        arguments = EcgTrainingArguments(
            output_dir=str(folder), max_grad_norm=0.0, lr_scheduler_type="constant", optim="adamw_torch",
            use_cpu=True, report_to="none", **ADAM,
        )  # fmt: skip
        self.noted = Noted()
        self.trainer = PretrainingTrainer(model, arguments, callbacks=[self.noted])
        self.model, self.optimizer = model, self.trainer.create_optimizer()
        self.gradients = {}
        self.optimizer.register_step_pre_hook(self.note)

    def note(self, *_):
        self.gradients |= {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}

    def __call__(self, x):
        trainer = self.trainer
        trainer.micro_step = 0
        trainer.training_step(self.model, {"input_values": x})
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.after_step(Progress(0, 1, 0.0))
        return self.noted.values

    def moments(self, kind):
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        return {names[parameter]: state[kind] for parameter, state in self.optimizer.state.items()}


def assert_losses(logged, recorded, tolerance):
    found = {
        "err_d": logged["discriminator_loss"],
        "err_g_rec": logged["reconstruction_loss"],
        "err_g_adv": logged["feature_matching_loss"],
    }
    for name, value in found.items():
        assert value == pytest.approx(recorded[name], rel=tolerance, abs=tolerance), name


@pytest.fixture(scope="module")
def small():
    return load_file(FOLDER / "net_small.safetensors")


@pytest.mark.parametrize("mode", ["train", "eval"])
@torch.no_grad()
def test_forward_passes(small, mode):
    model = build(ours(small, "init.")).train(mode == "train")
    x, want = small["x"][:8], part(small, f"{mode}.")
    generated = model.generate_beats(x)
    assert_near(generated.latent, want["latent"][:, :, 0], NUMBERS)
    assert_near(generated.reconstruction, want["recon"], NUMBERS)
    for block, state in enumerate(generated.hidden_states):
        assert_near(state.transpose(1, 2), want[f"enc.block{block}"], 1e-6)
    for kind, signal in (("real", x), ("fake", generated.reconstruction)):
        logits, features = model.discriminator(signal)
        assert_near(logits.sigmoid(), want[f"prob_{kind}"], NUMBERS)
        assert_near(features.transpose(1, 2), want[f"feat_{kind}"], NUMBERS)


@pytest.mark.parametrize("official_order", [False, True])
def test_three_steps(small, tmp_path, official_order):
    losses = metadata("net_small", "losses")
    steps = Steps(build(ours(small, "init."), official_order=official_order), tmp_path)
    for number in (1, 2, 3):
        assert_losses(steps(small["x"][8 * number - 8 : 8 * number]), losses[f"step{number}"], NUMBERS)
        if number == 1:
            for name, value in ours(small, "step1.grad.").items():
                assert_near(steps.gradients[name], value, NUMBERS)
        if number in (1, 3):
            state = steps.model.state_dict()
            for name, value in ours(small, f"step{number}.after.").items():
                assert_near(state[name], value, STATES)
    for kind in ("exp_avg", "exp_avg_sq"):
        recorded = {
            f"{network}.{name}": value
            for network in "GD"
            for name, value in part(small, f"step3.adam.{network}.{kind}.").items()
        }
        for name, value in ours(recorded).items():
            assert_near(steps.moments(kind)[name], value, STATES)
    assert {step.item() for step in steps.moments("step").values()} == {small["step3.adam.G.step"].item()} == {3.0}


def test_three_steps_in_float32(small, tmp_path):
    losses = metadata("net_small", "losses")
    steps = Steps(build(ours(small, "init."), torch.float32), tmp_path)
    for number in (1, 2, 3):
        assert_losses(steps(small["x"][8 * number - 8 : 8 * number].float()), losses[f"step{number}"], 2e-4)


@torch.no_grad()
def test_scores(small):
    model = BeatganForAnomalyDetection(BeatganConfig(**SMALL)).double().eval()
    state = our_generator(OfficialState(part(small, "step3.after.G."), "G"))
    model.load_state_dict(state)
    output = model(small["x"])
    for name, value in {"recon": output.reconstruction, "tick": output.error, "beat": output.score}.items():
        assert_near(value, small[f"score.{name}"], NUMBERS)
    # A score depends on no other beat of the call.
    assert_near(torch.cat([model(row[None]).score for row in small["x"]]), output.score, STATES)
    scores = output.score
    assert_near((scores - scores.min()) / (scores.max() - scores.min()), small["score.beat_minmax_set"], NUMBERS)


@torch.no_grad()
def test_published_validation_in_training_mode_moves_the_statistics(small):
    model = build(ours(small, "step3.after."), official_order=True).train()
    for batch in small["x"].split(8):
        model.generate_beats(batch)
    want = part(small, "val_trainmode.after.G.encoder1.main.3.")
    norm = model.beatgan.features.stages[0].norm
    for name, value in want.items():
        assert_near(getattr(norm, name), value, STATES)
    # In evaluation mode, ours, nothing moves.
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.calibrate(small["x"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_two_leads(tmp_path):
    recorded = load_file(FOLDER / "net_2lead.safetensors")
    losses = metadata("net_2lead", "losses")["step1"]
    model = build(ours(recorded, "init."), num_leads=2)
    x = recorded["x"][:8].double()
    model.eval()
    with torch.no_grad():
        generated = model.generate_beats(x)
        logits, features = model.discriminator(x)
    found = {
        "recon": generated.reconstruction, "latent": generated.latent[:, :, None], "prob_real": logits.sigmoid(),
        "feat_real": features.transpose(1, 2), "score": generated.error.mean(dim=(1, 2)),
    }  # fmt: skip
    for name, value in found.items():
        want = recorded[f"eval.{name}"]
        assert_near(value, want, NUMBERS if want.dtype == torch.float64 else 1e-6)
    steps = Steps(model, tmp_path)
    assert_losses(steps(x), losses, NUMBERS)
    want = recorded["step1.after.G.running_mean.encoder1.main.3"]
    assert_near(
        model.beatgan.features.stages[0].norm.running_mean, want, STATES if want.dtype == torch.float64 else 1e-6
    )


def rule(ordinal, count):
    """Numbers in [0, 1) by which the weights of the full-size network were filled, float64."""
    with np.errstate(over="ignore"):
        z = (np.arange(count, dtype=np.uint64) + np.uint64(1 + 1000003 * (ordinal + 1))) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(11)).astype(np.float64)) * 2.0**-53


def full_size_state(dtype=torch.float64):
    """The weights of the full-size network by the rule of the fixtures; the order of ours is the official one."""
    model = BeatganForPreTraining(BeatganConfig())
    state, ordinal = {}, 0
    # The official decoder alternates convolutions and norms.
    names = [name for name in model.state_dict() if not name.startswith("decoder.")]
    cut = names.index("beatgan.latent.weight") + 1
    decoder = []
    for number in range(6):
        decoder.append(f"decoder.convs.{number}.weight")
        if number < 5:
            decoder += [f"decoder.norms.{number}.weight", f"decoder.norms.{number}.bias"]
    current = model.state_dict()
    for name in [*names[:cut], *decoder, *names[cut:]]:
        value = current[name]
        if "running" in name or "num_batches" in name:
            continue
        c = math.sqrt(3) * (2 * rule(ordinal, value.numel()) - 1).view(value.shape)
        if value.ndim == 3:
            state[name] = math.sqrt(2 / ((value.shape[0] + value.shape[1]) * value.shape[2])) * c
        else:
            state[name] = 0.02 * c + (1 if name.endswith("weight") else 0)
        ordinal += 1
        if name == decoder[-1]:
            assert ordinal == 30
    fresh = {name: torch.zeros_like(value) if "var" not in name else torch.ones_like(value)
             for name, value in current.items() if name not in state}  # fmt: skip
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in (state | fresh).items()}


@pytest.mark.parametrize(("dtype", "name", "tolerance"), [(torch.float64, "f64", 1e-9), (torch.float32, "f32", 1e-3)])
def test_full_size(small, tmp_path, dtype, name, tolerance):
    facts = json.loads((FOLDER / "net_full.json").read_text())
    assert_near(rule(0, 3), torch.tensor(facts["rule_check"][:3], dtype=torch.float64), STATES)
    assert_near(rule(5, 2), torch.tensor(facts["rule_check"][3:], dtype=torch.float64), STATES)
    model = build(full_size_state(), dtype, base_channels=32, latent_size=50)
    x = small["x"][:8].to(dtype)
    if name == "f64":
        want = part(load_file(FOLDER / "net_full_eval.safetensors"), "eval.")
        model.eval()
        with torch.no_grad():
            generated = model.generate_beats(x)
            logits, features = model.discriminator(x)
        assert_near(generated.latent[:, :, None], want["latent"], 1e-6)
        assert_near(generated.reconstruction, want["recon"], 1e-6)
        assert_near(generated.error.mean(dim=(1, 2)), want["score"], 1e-6)
        assert_near(logits.sigmoid(), want["prob_real"], 1e-6)
        recorded = facts["eval.feat_real"]
        official = features.transpose(1, 2).contiguous()
        assert official.shape == tuple(recorded["shape"])
        assert official.sum().item() == pytest.approx(recorded["sum"], abs=1e-6)
        assert official.flatten()[:5].tolist() == pytest.approx(recorded["first"], abs=1e-6)
    # An Adam step turns the rounding of a gradient near 0 into a step of full size: in float32 the sum over a large
    # tensor depends on the kernels, and the recorded ones are those of AVX-512. Its norm does not.
    recorded_kernels = name == "f64" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    sums = tolerance if recorded_kernels else 5e-3
    steps = Steps(model, tmp_path)
    for number in (1, 2, 3):
        assert_losses(steps(x), facts[name][f"step{number}"], tolerance)
        recorded = facts[name].get(f"after{number}")
        if recorded:
            state = model.state_dict()
            indices = {key: torch.tensor(value, dtype=torch.float64) for key, value in recorded.items()}
            for key, (total, norm) in ours(indices).items():
                found = state[key].double()
                assert found.norm().item() == pytest.approx(norm.item(), rel=tolerance), key
                assert found.sum().item() == pytest.approx(total.item(), rel=sums, abs=sums * norm.item()), key


def test_reinitialization(tmp_path):
    recorded = load_file(FOLDER / "reinit.safetensors")
    model = build(ours(recorded, "init."))
    steps = Steps(model, tmp_path)
    model.draw = lambda generator: {"reinitialization_seed": torch.tensor([123])}
    logged = steps(recorded["x"])
    assert_losses(logged, metadata("reinit", "losses"), NUMBERS)
    assert logged["reinitialized"] == 1
    state, before = model.state_dict(), ours(recorded, "pre_reinit.")
    for name, value in ours(recorded, "after.").items():
        assert_near(state[name], value, STATES)
        is_statistic = "running" in name or "num_batches" in name
        assert torch.equal(value, before[name]) == is_statistic, name
    for kind in ("exp_avg", "exp_avg_sq"):
        want = our_discriminator(OfficialState(part(recorded, f"after.adam.D.{kind}."), kind))
        for name, value in want.items():
            assert_near(steps.moments(kind)[name], value, STATES)


def test_no_reinitialization_above_the_bound(tmp_path):
    recorded = load_file(FOLDER / "reinit.safetensors")
    # The loss of this step is 2.0e-6.
    model = build(ours(recorded, "init."), reinitialize_below=1.9e-6)
    logged = Steps(model, tmp_path)(recorded["x"])
    assert logged["reinitialized"] == 0
    for name, value in ours(recorded, "pre_reinit.").items():
        assert_near(model.state_dict()[name], value, STATES)


def test_warps():
    recorded = load_file(FOLDER / "timewarp.safetensors")
    places = warp_places(recorded["left_perm"], recorded["right_perm"], 7, 320)
    assert torch.equal(places.first, recorded["index_a"])
    assert torch.equal(places.second, recorded["index_b"])
    assert torch.equal(warp_beats(recorded["x"], places), recorded["y"])


# ---- distillation and contrast -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def terms():
    return load_file(FOLDER / "losses.safetensors")


EXPECTED = json.loads((FOLDER / "losses_expected.json").read_text())


def test_distances(terms):
    kd = part(terms, "kd.")
    for name, ours_name in (("out", "recon"), ("lat", "latent")):
        student = kd[f"{ours_name}_student"].requires_grad_()
        loss = mean_squared_error(student, kd[f"{ours_name}_teacher"])
        assert loss.item() == pytest.approx(EXPECTED["kd"][name], abs=NUMBERS)
        assert_near(torch.autograd.grad(loss, student)[0], kd[f"grad.{name}"], 1e-7 if name == "out" else NUMBERS)


def test_attention_transfer(terms):
    kd = part(terms, "kd.")
    student = [kd[f"block{block}.student"].transpose(1, 2).requires_grad_() for block in (0, 1)]
    teacher = [kd[f"block{block}.teacher"].transpose(1, 2) for block in (0, 1)]
    loss = attention_distillation(student, teacher)
    assert loss.item() == pytest.approx(EXPECTED["kd"]["at"], abs=NUMBERS)
    assert loss.item() == pytest.approx(EXPECTED["published_ft"], abs=NUMBERS)
    assert_near(torch.autograd.grad(loss, student[0])[0].transpose(1, 2), kd["grad.at"], NUMBERS)


@pytest.mark.parametrize(
    ("name", "over", "temperature"),
    [("score_batch_T4", "beats", 4), ("score_batch_T1", "beats", 1), ("score_tick_T4", "samples", 4)],
)
def test_divergence_of_scores(terms, name, over, temperature):
    kd = part(terms, "kd.")
    student = kd["recon_student"].requires_grad_()
    errors = [(kd["x"] - one).square() for one in (student, kd["recon_teacher"])]
    loss = score_distillation(*errors, temperature, over)
    assert loss.item() == pytest.approx(EXPECTED["kd"][name], abs=NUMBERS)
    assert_near(torch.autograd.grad(loss, student)[0], kd[f"grad.{name}"], 1e-6)


def test_the_published_term_is_a_constant(terms):
    student = terms["published.score_student"].requires_grad_()
    loss = published_distillation(student, terms["published.score_teacher"], 4.0)
    assert loss.item() == pytest.approx(EXPECTED["published_si_kd"]["value"], abs=1e-7)
    assert loss.requires_grad is EXPECTED["published_si_kd"]["requires_grad"] is False


@pytest.mark.parametrize("temperature", [0.5, 0.1])
@pytest.mark.parametrize(
    ("name", "negatives"),
    [
        ("none", "all"),
        ("same_record", "exclude_same_record"),
        ("neighbours_3600", "exclude_neighbors"),
        ("nearest_2", "exclude_nearest"),
    ],
)
def test_contrast_of_beats(terms, name, negatives, temperature):
    recorded = part(terms, "ntxent.")
    first, second = recorded["z1"].requires_grad_(), recorded["z2"]
    rows = torch.nn.functional.normalize(torch.stack([first, second], dim=1), dim=2)
    # Beats are only needed for their distances, which are recorded.
    excluded = excluded_negatives(
        negatives, torch.zeros(16, 1, 4), parent_ids=recorded["record"], starts=recorded["position"]
    )
    if name == "nearest_2":
        excluded = recorded["exclude.nearest_2"].bool()
    elif name != "none":
        off_diagonal = ~torch.eye(16, dtype=torch.bool)
        assert torch.equal(excluded & off_diagonal, recorded[f"exclude.{name}"].bool() & off_diagonal)
    loss = nt_xent(rows, temperature, excluded=excluded).loss
    assert loss.item() == pytest.approx(EXPECTED["ntxent"][f"{name}.tau{temperature}"], abs=NUMBERS)
    assert_near(torch.autograd.grad(loss, first)[0], recorded[f"grad_z1.{name}.tau{temperature}"], NUMBERS)
