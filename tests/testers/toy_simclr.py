"""The toy SimCLR over a tiny xresnet1d for the conformance tests; `tests/test_backbone.py` has other backbones."""

from typing import ClassVar

from .tester import EcgModelTester
from .xresnet1d import Xresnet1dTester


class ToySimclrTester(EcgModelTester):
    """The backbone of the tester of xresnet1d; its fields are given at the top level."""

    model_type = "toy_simclr"
    config_fields: ClassVar = {"backbone_config": {"model_type": "xresnet1d"}, **Xresnet1dTester.config_fields}
    input_shape = Xresnet1dTester.input_shape
    num_hidden_layers = Xresnet1dTester.num_hidden_layers
    seq_length = Xresnet1dTester.seq_length
    hidden_size = Xresnet1dTester.hidden_size
    hidden_state_shapes: ClassVar = Xresnet1dTester.hidden_state_shapes
    takes_attention_mask = False
    takes_any_window = True
    records_are_independent = False
    feature_extractor_fields: ClassVar = {"sampling_rate": 250, "window_size": 625}
