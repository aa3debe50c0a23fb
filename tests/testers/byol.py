"""BYOL for the conformance tests, over the encoder of MAE-MoCo and over xresnet1d."""

from typing import ClassVar

from .simclr import SimclrTester, SimclrXresnet1dTester


class ByolTester(SimclrTester):
    """The backbone of the tester of SimCLR."""

    model_type = "byol"
    config_fields: ClassVar = {**SimclrTester.config_fields, "predictor_hidden_size": 12}
    twins: ClassVar = {"momentum_encoder": "byol", "momentum_projector": "projector"}


class ByolXresnet1dTester(SimclrXresnet1dTester):
    """The backbone of the tester of xresnet1d."""

    model_type = "byol"
    config_fields: ClassVar = {**SimclrXresnet1dTester.config_fields, "predictor_hidden_size": 12}
    twins: ClassVar = ByolTester.twins


OTHERS = {"xresnet1d": ByolXresnet1dTester}
