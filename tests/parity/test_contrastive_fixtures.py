"""Training steps of SimCLR, BYOL and SwAV against numbers recorded from ecg-selfsupervised, and its schedules.

Fixtures in `data/ecg_selfsupervised/`. Steps were computed in float64 and their results rounded to float32 once, so
they agree to 1e-6 of a tensor's largest value; gradients that are zero by mathematics (a shift before a BatchNorm) are
compared with the largest gradient of the step.
"""

import copy
import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ecg_transformers import (
    ByolConfig,
    ByolForPreTraining,
    SimclrConfig,
    SimclrForPreTraining,
    SwavConfig,
    SwavForPreTraining,
)
from ecg_transformers.modeling import EcgModelOutput
from ecg_transformers.objectives.progress import Progress
from ecg_transformers.objectives.sinkhorn import assignment_codes, assignment_loss
from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer
from ecg_transformers.trainer.schedules import Schedule

from .recorded import ECG_SELFSUPERVISED, assert_near_largest, part

FORWARD = 2e-6
STEP = 1e-6
SMALL_BACKBONE = {
    "model_type": "xresnet1d", "stem_sizes": [32, 8, 64], "depths": [1, 1, 1, 1], "block": "bottleneck", "width": 8,
    "stem_bias": True,
}  # fmt: skip


def our_encoder(official):
    """Tensors of the official encoder's `features` under our names; what pretraining never uses is left out."""
    result = {}
    for name, value in part(official, "encoder.features.").items():
        number, _, rest = name.partition(".")
        if int(number) < 3:
            kind, _, tensor = rest.partition(".")
            result[f"stem.{number}.{('conv', 'norm')[int(kind)]}.{tensor}"] = value
        else:
            rest = re.sub(r"idpath\.\d", "shortcut", rest)
            rest = re.sub(r"(convs\.\d|shortcut)\.([01])\.", lambda m: f"{m[1]}.{('conv', 'norm')[int(m[2])]}.", rest)
            result[f"stages.{int(number) - 4}.{rest}"] = value
    return result


def load_recorded(model, tensors):
    """The model with recorded tensors, in float64 and training mode; only counters of batches may be missing."""
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return model.double().train()


def assert_gradients(module, recorded, norms, learned):
    parameters = dict(module.named_parameters())
    assert set(norms or recorded) == set(learned)
    floor = max(gradient.abs().max().item() for gradient in recorded.values())
    for name, gradient in recorded.items():
        assert_near_largest(parameters[name].grad, gradient, STEP, floor, name)
    for name, norm in norms.items():
        assert_near_largest(parameters[name].grad.norm(), norm, STEP, floor, name)


def assert_tensors(module, recorded, names):
    state = module.state_dict()
    assert set(recorded) == set(names)
    for name, value in recorded.items():
        assert_near_largest(state[name], value, STEP, name=name)


def buffers(module):
    return {name for name, _ in module.named_buffers() if "running_" in name}


def optimizer_of(model, folder, **settings):
    """The optimizer that `PretrainingTrainer` makes with these settings."""
    arguments = EcgTrainingArguments(output_dir=str(folder), optim="adam", report_to="none", use_cpu=True, **settings)
    return PretrainingTrainer(model, arguments).create_optimizer()


def simclr_names(official):
    heads = {name.replace("projection.model.1.", "projector.0.").replace("projection.model.3.", "projector.2."): value
             for name, value in official.items() if name.startswith("projection.")}  # fmt: skip
    return {**{f"simclr.backbone.{name}": value for name, value in our_encoder(official).items()}, **heads}


@pytest.mark.parametrize("quirks", [False, ["Q1"], True])
def test_one_step_of_simclr(quirks, tmp_path):
    fixture = part(load_file(ECG_SELFSUPERVISED / "simclr.safetensors"), "step/")
    config = SimclrConfig(
        backbone_config=SMALL_BACKBONE, projector_hidden_size=12, projection_size=6, official_quirks=quirks
    )
    model = load_recorded(SimclrForPreTraining(config), simclr_names(part(fixture, "state/")))
    views = torch.stack([fixture["view1"], fixture["view2"]], dim=1).double()
    single = copy.deepcopy(model).float()(views[:, 0].float(), views=views.float())
    for view in (0, 1):
        assert_near_largest(single.projections[:, view], fixture[f"z{view + 1}"], FORWARD)
    output = model(views[:, 0], views=views)
    for view in (0, 1):
        assert_near_largest(output.projections[:, view], fixture[f"z{view + 1}"])
    assert_near_largest(output.loss, fixture["loss_official" if quirks else "loss_intended"])
    if not quirks:
        # Gradients and step were recorded of the published loss.
        return
    output.loss.backward()
    gradients, norms = (simclr_names(part(fixture, kind)) for kind in ("grad/", "grad_norm/"))
    assert_gradients(model, gradients, norms, {name for name, _ in model.named_parameters()})
    assert_tensors(model, simclr_names(part(fixture, "buffer_after/")), buffers(model))
    # No layer of the official network is called bn: scales of BatchNorm decay, only biases do not (quirk Q2).
    published = {"learning_rate": 0.00229, "weight_decay": 1e-6}
    optimizer_of(model, tmp_path, decay_norms_and_biases=True, no_decay=["bias"], **published).step()
    # The first and the last layers alone are recorded.
    after = simclr_names(part(fixture, "param_after/"))
    assert len(after) == 17
    assert_tensors(model, after, after)


def byol_names(official):
    """Tensors of both official arms under our names; the target's predictor, whose output nobody takes, is left out."""
    result = {}
    for arm, ours in (("online", ("byol", "")), ("target", ("momentum_encoder", "momentum_"))):
        own = part(official, f"{arm}_network.")
        result |= {f"{ours[0]}.backbone.{name}": value for name, value in our_encoder(own).items()}
        for head in ("projector",) if ours[1] else ("projector", "predictor"):
            result |= {f"{ours[1]}{head}.{name}": value for name, value in part(own, f"{head}.model.").items()}
    return result


@pytest.mark.parametrize("quirks", [False, True, ["Q5"], ["Q4"]])
def test_one_step_of_byol(quirks, tmp_path):
    fixture = load_file(ECG_SELFSUPERVISED / "byol.safetensors")
    config = ByolConfig(
        backbone_config=SMALL_BACKBONE, projector_hidden_size=10, predictor_hidden_size=10, projection_size=6,
        official_quirks=quirks,
    )  # fmt: skip
    model = load_recorded(ByolForPreTraining(config), byol_names(part(fixture, "state/")))
    views = torch.stack([fixture["view1"], fixture["view2"]], dim=1).double()
    loss = fixture[f"loss_total_{'official' if config.has_quirk('Q5') else 'intended'}"]
    with torch.no_grad():
        single = copy.deepcopy(model).float()
        single.before_step(Progress(0, 10, 0.0))
        assert_near_largest(single(views[:, 0].float(), views=views.float()).loss, loss, FORWARD)
    model.before_step(Progress(0, 10, 0.0))
    output = model(views[:, 0], views=views)
    assert_near_largest(output.loss, loss)
    output.loss.backward()
    parameters = {name for name, value in model.named_parameters() if value.requires_grad}
    gradients, norms = (byol_names(part(fixture, kind)) for kind in ("grad/", "grad_norm/"))
    assert set(norms) == parameters
    assert_gradients(model, gradients, norms, parameters)
    assert_tensors(model, byol_names(part(fixture, "buffer_after/")), buffers(model))
    everything = {"decay_norms_and_biases": True, "no_decay": [], "learning_rate": 0.00229, "weight_decay": 1e-5}
    optimizer_of(model, tmp_path, **everything).step()
    assert_tensors(model, byol_names(prefixed(part(fixture, "online_after/"), "online_network.")), parameters)
    # The published average moves only what has weight in its name (quirk Q4).
    model.after_step(Progress(0, 10, 0.0))
    form = "official" if config.has_quirk("Q4") else "intended"
    after = byol_names(prefixed(part(fixture, f"target_after_{form}/"), "target_network."))
    assert_tensors(model, after, {name for name, _ in model.named_parameters()} - parameters)


def prefixed(tensors, prefix):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def test_the_momentum_of_byol_follows_a_cosine():
    fixture = part(load_file(ECG_SELFSUPERVISED / "byol.safetensors"), "tau/")
    schedule = Schedule("cosine", 0.996, 1.0)
    values = [schedule(step, fixture["max_steps"].item()) for step in fixture["steps"].tolist()]
    assert values == pytest.approx(fixture["values"].tolist(), abs=1e-12)


def test_the_mlp_of_byol():
    fixture = part(load_file(ECG_SELFSUPERVISED / "byol.safetensors"), "mlp/")
    mlp = nn.Sequential(nn.Linear(6, 10, bias=False), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 6))
    mlp.load_state_dict(part(fixture, "state/model."))
    assert_near_largest(mlp.eval()(fixture["input"]), fixture["eval"], 2e-6)
    assert_near_largest(mlp.train()(fixture["input"]), fixture["train"], 2e-6)


def swav_names(official):
    return {name.replace("projection_head.", "projector."): value for name, value in official.items()}


def test_six_steps_of_swav(tmp_path, monkeypatch):
    fixture = load_file(ECG_SELFSUPERVISED / "swav.safetensors")
    config = SwavConfig(
        projector_hidden_size=10, projection_size=8, num_prototypes=12, queue_size=8, queue_start_epoch=2,
        official_quirks=["Q7"],
    )  # fmt: skip
    model = SwavForPreTraining(config)
    model.load_state_dict(swav_names(part(fixture, "state/")), strict=False)
    model.double().train()
    settings = {"decay_norms_and_biases": True, "no_decay": [], "learning_rate": 1e-3, "weight_decay": 1e-6}
    optimizer = optimizer_of(model, tmp_path, **settings)
    codes = []

    def recording(*args, **options):
        codes.append(assignment_codes(*args, **options))
        return codes[-1]

    monkeypatch.setattr("ecg_transformers.models.swav.pretraining_swav.assignment_codes", recording)
    for step in range(6):
        recorded, progress = part(fixture, f"step{step}/"), Progress(step, 6, float(step))
        # The head alone is under test: its input is given, crop after crop.
        features = torch.cat([recorded[f"features{crop}"] for crop in range(6)]).double()
        given = EcgModelOutput(last_hidden_state=features[:, None], pooler_output=features)
        monkeypatch.setattr(model, "_encode_crops", lambda *_, given=given, **__: given)
        model.before_step(progress)
        assert_queue(model.queue, recorded.get("queue_before"))
        output = model(torch.zeros(4, 12, 250), views=torch.zeros(4, 6, 12, 250))
        assert_near_largest(model.prototypes.weight, recorded["prototypes_normalised"])
        crops_first = output.embeddings.transpose(0, 1)
        assert_near_largest(crops_first.flatten(0, 1), recorded["embedding"])
        scores = output.embeddings @ model.prototypes.weight.T
        assert_near_largest(scores.transpose(0, 1).flatten(0, 1), recorded["scores"])
        for crop in range(2):
            assert_near_largest(codes[-1][:, crop], recorded[f"codes_all{crop}"][-4:])
        assert_queue(model.queue, recorded.get("queue_after"))
        assert_near_largest(output.loss, recorded["loss_official"])
        assert_near_largest(assignment_loss(scores, codes[-1], 0.1), recorded["loss_intended"])
        optimizer.zero_grad()
        output.loss.backward()
        learned = {name for name, value in model.named_parameters() if value.grad is not None}
        assert_gradients(model, swav_names(part(recorded, "grad/")), {}, learned)
        model.before_optimizer_step(progress)
        assert (model.prototypes.weight.grad is None) == bool(recorded["prototype_grad_is_none"]) == (step == 0)
        frozen = model.prototypes.weight.detach().clone()
        optimizer.step()
        assert torch.equal(model.prototypes.weight, frozen) == (step == 0)
        for name, value in swav_names(part(recorded, "state_after/")).items():
            assert_near_largest(model.state_dict()[name], value, STEP, name=name)


def assert_queue(queue, recorded):
    """Rows of the queue; the public code has none before its epoch."""
    if recorded is not None:
        assert_near_largest(queue.embeddings.transpose(0, 1), recorded, floor=1)
    else:
        assert not queue.embeddings.any()
