"""The backbone that was used to record MoCo v3, as a registered encoder."""

import torch
from transformers import AutoConfig, AutoModel

from ecg_transformers import MocoV3Config, MocoV3ForPreTraining
from ecg_transformers.configuration import EcgConfig
from ecg_transformers.modeling import EcgModelOutput, Encoder


class TanhLineConfig(EcgConfig):
    """20 samples of one lead, mapped to 12 values."""

    model_type = "tanh_of_a_line"

    num_leads: int = 1
    window_size: int = 20
    hidden_size: int = 12


class TanhLineModel(Encoder):
    """`tanh(fc1(x))` as the only token."""

    config_class = TanhLineConfig

    def __init__(self, config):
        super().__init__(config)
        self.fc1 = torch.nn.Linear(config.window_size, config.hidden_size)
        self.post_init()

    def forward(self, input_values=None, **_):
        pooled = self.fc1(input_values[:, 0]).tanh()
        return EcgModelOutput(last_hidden_state=pooled[:, None], pooler_output=pooled)


AutoConfig.register("tanh_of_a_line", TanhLineConfig, exist_ok=True)
AutoModel.register(TanhLineConfig, TanhLineModel, exist_ok=True)


def our_name(name):
    """Name of a tensor of the public code in ours."""
    part, _, rest = name.partition(".")
    prefix = {"base_encoder": "moco_v3.backbone.", "momentum_encoder": "momentum_encoder.backbone.", "predictor": ""}[
        part
    ]
    head = {"base_encoder": "projector", "momentum_encoder": "momentum_projector", "predictor": "predictor"}[part]
    rest = rest.removeprefix("head.")
    if not rest[0].isdigit():
        return prefix + rest
    number, _, kind = rest.partition(".")
    layer, place = divmod(int(number), 3)
    return f"{head}.layers.{layer}.{'norm' if place else 'linear'}.{kind}"


def recorded(fixture, *prefixes):
    """Tensors below the prefixes under our names; `prefix|part` names the part where the fixture does not."""
    found = {}
    for prefix in prefixes:
        start, _, part = prefix.partition("|")
        found |= {
            our_name(f"{part}.{name.removeprefix(start)}" if part else name.removeprefix(start)): value
            for name, value in fixture.items()
            if name.startswith(start)
        }
    return found


def model_of(fixture, dtype=torch.float64):
    """The model with the recorded start."""
    config = MocoV3Config(
        backbone_config={"model_type": "tanh_of_a_line"}, projector_hidden_size=16, projection_size=6, momentum=0.99
    )
    # The type first: float64 tensors that were copied into float32 are no longer the recorded ones.
    model = MocoV3ForPreTraining(config).to(dtype).train()
    model.load_state_dict(recorded(fixture, "init."))
    return model


def views_of(fixture, prefix, dtype=torch.float64):
    """The two views as a batch of one lead."""
    return torch.stack([fixture[f"{prefix}.x1"], fixture[f"{prefix}.x2"]], dim=1)[:, :, None].to(dtype)
