"""SimCLR for the conformance tests, over the encoder of MAE-MoCo and over xresnet1d."""

from typing import ClassVar

from .mae_moco import MaeMocoTester
from .xresnet1d import Xresnet1dTester


class SimclrTester(MaeMocoTester):
    """A backbone that takes an attention mask; whole windows are made views of, so none is given here."""

    model_type = "simclr"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "mae_moco"},
        **MaeMocoTester.config_fields,
        "projector_hidden_size": 12,
        "projection_size": 6,
    }
    takes_attention_mask = False
    twins: ClassVar = {}


class SimclrXresnet1dTester(Xresnet1dTester):
    """The backbone of the tester of xresnet1d; its fields are given at the top level."""

    model_type = "simclr"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "xresnet1d"},
        **Xresnet1dTester.config_fields,
        "projector_hidden_size": 12,
        "projection_size": 6,
    }


OTHERS = {"xresnet1d": SimclrXresnet1dTester}
