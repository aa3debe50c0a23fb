"""The toy SimCLR over a tiny xresnet1d for the conformance tests; `tests/test_backbone.py` has other backbones."""

from typing import ClassVar

from .xresnet1d import Xresnet1dTester


class ToySimclrTester(Xresnet1dTester):
    """The backbone of the tester of xresnet1d; its fields are given at the top level."""

    model_type = "toy_simclr"
    config_fields: ClassVar = {"backbone_config": {"model_type": "xresnet1d"}, **Xresnet1dTester.config_fields}
    feature_extractor_fields: ClassVar = {"sampling_rate": 250, "window_size": 625}
