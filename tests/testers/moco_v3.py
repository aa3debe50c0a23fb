"""MoCo v3 for the conformance tests, over the plain vision transformer and over xresnet1d."""

from typing import ClassVar

from .ecg_vit import EcgVitTester
from .tester import EcgModelTester
from .xresnet1d import Xresnet1dTester


class MocoV3Tester(EcgModelTester):
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
    input_shape = EcgVitTester.input_shape
    num_hidden_layers = EcgVitTester.num_hidden_layers
    seq_length = EcgVitTester.seq_length
    hidden_size = EcgVitTester.hidden_size
    num_attention_heads = EcgVitTester.num_attention_heads
    twins: ClassVar = {"momentum_encoder": "moco_v3", "momentum_projector": "projector"}
    feature_extractor_fields: ClassVar = EcgVitTester.feature_extractor_fields


class MocoV3Xresnet1dTester(EcgModelTester):
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
    input_shape = Xresnet1dTester.input_shape
    num_hidden_layers = Xresnet1dTester.num_hidden_layers
    seq_length = Xresnet1dTester.seq_length
    hidden_size = Xresnet1dTester.hidden_size
    hidden_state_shapes: ClassVar = Xresnet1dTester.hidden_state_shapes
    takes_attention_mask = False
    takes_any_window = True
    records_are_independent = False
    twins: ClassVar = MocoV3Tester.twins
    feature_extractor_fields: ClassVar = Xresnet1dTester.feature_extractor_fields


OTHERS = {"xresnet1d": MocoV3Xresnet1dTester}
