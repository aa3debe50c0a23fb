"""MoCo v3 for the conformance tests, over the plain vision transformer and over xresnet1d."""

from typing import ClassVar

from .ecg_vit import EcgVitTester
from .xresnet1d import Xresnet1dTester


class MocoV3Tester(EcgVitTester):
    """The backbone of the tester of `ecg_vit`; its fields are given at the top level."""

    model_type = "moco_v3"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "ecg_vit"},
        **EcgVitTester.config_fields,
        "projector_hidden_size": 16,
        "projection_size": 8,
        # No multiple of the batch, so that the queue wraps round inside a batch.
        "queue_size": 10,
    }
    twins: ClassVar = {"momentum_encoder": "moco_v3", "momentum_projector": "projector"}


class MocoV3Xresnet1dTester(Xresnet1dTester):
    """The backbone of the tester of xresnet1d, with the heads that MoCo v3 has for convolutional networks."""

    model_type = "moco_v3"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "xresnet1d"},
        **Xresnet1dTester.config_fields,
        "projector_num_layers": 2,
        "projector_hidden_size": 16,
        "projection_size": 8,
        "predictor_last_norm": False,
    }
    twins: ClassVar = MocoV3Tester.twins


OTHERS = {"xresnet1d": MocoV3Xresnet1dTester}
