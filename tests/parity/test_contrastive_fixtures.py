"""Training steps of SimCLR, BYOL and SwAV against numbers recorded from ecg-selfsupervised, and its schedules.

Fixtures in `data/ecg_selfsupervised/`. Steps were computed in float64 and their results rounded to float32 once, so
they agree to 1e-6 of a tensor's largest value; gradients that are zero by mathematics (a shift before a BatchNorm) are
compared with the largest gradient of the step.
"""

import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize

from ecg_transformers import SimclrConfig, SimclrForPreTraining, Xresnet1dConfig, Xresnet1dModel
from ecg_transformers.objectives.momentum import ema_update
from ecg_transformers.objectives.regression import regression_loss
from ecg_transformers.objectives.sinkhorn import assignment_codes, assignment_loss, normalize_prototypes, push_front
from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer
from ecg_transformers.trainer.schedules import Schedule

from .recorded import ECG_SELFSUPERVISED, assert_near_largest, part

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


class Arm(nn.Module):
    """Encoder and heads, as the families will compose them."""

    def __init__(self, **heads):
        super().__init__()
        sizes = {"stem_sizes": (32, 8, 64), "depths": (1, 1, 1, 1), "block": "bottleneck", "width": 8}
        self.encoder = Xresnet1dModel(Xresnet1dConfig(**sizes, stem_bias=True))
        self.heads = nn.ModuleDict(heads)

    def names(self, official):
        """Official tensors under the names of this module."""
        tensors = {f"encoder.{name}": value for name, value in our_encoder(official).items()}
        for head in self.heads:
            short = {"projector": ("projector.model.", "projection.model.")}.get(head, (f"{head}.model.",))
            for prefix in short:
                tensors |= {f"heads.{head}.{name}": value for name, value in part(official, prefix).items()}
        return tensors

    def load(self, official):
        missing, unexpected = self.load_state_dict(self.names(official), strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        return self.double().train()


def assert_gradients(module, recorded, norms):
    parameters = dict(module.named_parameters())
    assert set(norms) == set(parameters)
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
    output = model(views[:, 0], views=views)
    for view in (0, 1):
        assert_near_largest(output.projections[:, view], fixture[f"z{view + 1}"])
    assert_near_largest(output.loss, fixture["loss_official" if quirks else "loss_intended"])
    if not quirks:
        # Gradients and step were recorded of the published loss.
        return
    output.loss.backward()
    assert_gradients(model, simclr_names(part(fixture, "grad/")), simclr_names(part(fixture, "grad_norm/")))
    assert_tensors(model, simclr_names(part(fixture, "buffer_after/")), buffers(model))
    # No layer of the official network is called bn: scales of BatchNorm decay, only biases do not (quirk Q2).
    published = {"learning_rate": 0.00229, "weight_decay": 1e-6}
    optimizer_of(model, tmp_path, decay_norms_and_biases=True, no_decay=["bias"], **published).step()
    # The first and the last layers alone are recorded.
    after = simclr_names(part(fixture, "param_after/"))
    assert len(after) == 17
    assert_tensors(model, after, after)


def byol_arm():
    def head(inputs):
        return nn.Sequential(nn.Linear(inputs, 10, bias=False), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 6))

    return Arm(projector=head(64), predictor=head(6))


def test_one_step_of_byol():
    fixture = load_file(ECG_SELFSUPERVISED / "byol.safetensors")
    online, target = (byol_arm().load(part(fixture, f"state/{name}_network.")) for name in ("online", "target"))
    first, second = fixture["view1"].double(), fixture["view2"].double()

    def predicted(view):
        return online.heads.predictor(online.heads.projector(online.encoder(view).pooler_output))

    @torch.no_grad()
    def projected(view):
        projection = target.heads.projector(target.encoder(view).pooler_output)
        # Its result is not used, but its BatchNorm runs.
        target.heads.predictor(projection)
        return projection

    # Four passes in the published order.
    prediction_1, target_2 = predicted(first), projected(second)
    prediction_2, target_1 = predicted(second), projected(first)
    predictions, targets = torch.stack([prediction_1, prediction_2], dim=1), torch.stack([target_1, target_2], dim=1)
    loss = regression_loss(predictions, targets)
    assert_near_largest(loss, fixture["loss_total_intended"])
    assert_near_largest(regression_loss(predictions, targets, constants=False), fixture["loss_total_official"])
    loss.backward()
    gradients, norms = (online.names(part(fixture, f"{kind}/online_network.")) for kind in ("grad", "grad_norm"))
    assert_gradients(online, gradients, norms)
    assert all(parameter.grad is None for parameter in target.parameters())
    for network, name in ((online, "online"), (target, "target")):
        after = network.names(part(fixture, f"buffer_after/{name}_network."))
        assert_tensors(network, after, buffers(network))
    torch.optim.Adam(online.parameters(), lr=0.00229, weight_decay=1e-5).step()
    assert_tensors(online, online.names(part(fixture, "online_after/")), dict(online.named_parameters()))

    # The published average moves only what has weight in its name (quirk Q4).
    official = byol_arm().double()
    official.load_state_dict(target.state_dict())
    weights = [
        nn.ParameterList(parameter for name, parameter in network.named_parameters() if "weight" in name)
        for network in (official, online)
    ]
    ema_update(*weights, 0.996)
    ema_update(target, online, 0.996)
    for network, form in ((official, "official"), (target, "intended")):
        after = network.names(part(fixture, f"target_after_{form}/"))
        assert_tensors(network, after, dict(network.named_parameters()))


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


def test_six_steps_of_swav():
    fixture = load_file(ECG_SELFSUPERVISED / "swav.safetensors")
    head = nn.Sequential(nn.Linear(512, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 8))
    prototypes = nn.Linear(8, 12, bias=False)
    network = nn.ModuleDict({"projection_head": head, "prototypes": prototypes})
    network.load_state_dict(part(fixture, "state/"))
    network.double().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-6)
    queue = None
    for step in range(6):
        recorded = part(fixture, f"step{step}/")
        normalize_prototypes(prototypes.weight)
        assert_near_largest(prototypes.weight, recorded["prototypes_normalised"])
        # One pass over all crops, crop by crop.
        features = torch.cat([recorded[f"features{crop}"] for crop in range(6)]).double()
        embeddings = normalize(head(features), dim=1)
        assert_near_largest(embeddings, recorded["embedding"])
        scores = prototypes(embeddings)
        assert_near_largest(scores, recorded["scores"])
        by_record = scores.unflatten(0, (6, 4)).transpose(0, 1)
        own = embeddings.detach().unflatten(0, (6, 4)).transpose(0, 1)[:, :2]
        if step == 2:
            queue = torch.zeros(8, 2, 8, dtype=torch.float64)
        full = step >= 4
        codes = assignment_codes(by_record[:, :2], queue if full else None, prototypes.weight)
        for crop in range(2):
            assert_near_largest(codes[:, crop], recorded[f"codes_all{crop}"][-4:])
        if queue is not None:
            assert_near_largest(queue.transpose(0, 1), recorded["queue_before"], floor=1)
            queue = push_front(queue, own)
            assert_near_largest(queue.transpose(0, 1), recorded["queue_after"])
        # The public code rounds the codes to float32.
        loss = assignment_loss(by_record, codes.float().double(), 0.1, count_own=True)
        assert_near_largest(loss, recorded["loss_official"])
        assert_near_largest(assignment_loss(by_record, codes, 0.1), recorded["loss_intended"])
        optimizer.zero_grad()
        loss.backward()
        gradients, parameters = part(recorded, "grad/"), dict(network.named_parameters())
        assert set(gradients) == set(parameters)
        floor = max(gradient.abs().max().item() for gradient in gradients.values())
        for name, gradient in gradients.items():
            assert_near_largest(parameters[name].grad, gradient, STEP, floor, name)
        if recorded["prototype_grad_is_none"]:
            prototypes.weight.grad = None
            frozen = prototypes.weight.detach().clone()
        optimizer.step()
        if step == 0:
            assert torch.equal(prototypes.weight, frozen)
        for name, value in part(recorded, "state_after/").items():
            assert_near_largest(network.state_dict()[name], value, STEP, name=name)
