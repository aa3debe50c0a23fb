"""BYOL for the conformance tests, over the encoder of MAE-MoCo and over xresnet1d."""

from typing import ClassVar

from .mae_moco import MaeMocoTester
from .tester import EcgModelTester
from .xresnet1d import Xresnet1dTester


class ByolTester(EcgModelTester):
    """A backbone that takes an attention mask; whole windows are made views of, so none is given here."""

    model_type = "byol"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "mae_moco"},
        **MaeMocoTester.config_fields,
        "projector_hidden_size": 12,
        "projection_size": 6,
        "predictor_hidden_size": 12,
    }
    input_shape = MaeMocoTester.input_shape
    num_hidden_layers = MaeMocoTester.num_hidden_layers
    seq_length = MaeMocoTester.seq_length
    hidden_size = MaeMocoTester.hidden_size
    num_attention_heads = MaeMocoTester.num_attention_heads
    takes_attention_mask = False
    twins: ClassVar = {"momentum_encoder": "byol", "momentum_projector": "projector"}
    feature_extractor_fields: ClassVar = MaeMocoTester.feature_extractor_fields


class ByolXresnet1dTester(EcgModelTester):
    """The backbone of the tester of xresnet1d; its fields are given at the top level."""

    model_type = "byol"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "xresnet1d"},
        **Xresnet1dTester.config_fields,
        "projector_hidden_size": 12,
        "projection_size": 6,
        "predictor_hidden_size": 12,
    }
    input_shape = Xresnet1dTester.input_shape
    num_hidden_layers = Xresnet1dTester.num_hidden_layers
    seq_length = Xresnet1dTester.seq_length
    hidden_size = Xresnet1dTester.hidden_size
    hidden_state_shapes: ClassVar = Xresnet1dTester.hidden_state_shapes
    takes_attention_mask = False
    takes_any_window = True
    records_are_independent = False
    twins: ClassVar = {"momentum_encoder": "byol", "momentum_projector": "projector"}
    feature_extractor_fields: ClassVar = Xresnet1dTester.feature_extractor_fields


OTHERS = {"xresnet1d": ByolXresnet1dTester}
