"""SwAV for the conformance tests, over the encoder of MAE-MoCo and over xresnet1d."""

from typing import ClassVar

from .simclr import SimclrTester, SimclrXresnet1dTester

# The queue is no multiple of the batch.
FIELDS = {"num_prototypes": 7, "num_crops": 3, "queue_size": 6}


class SwavTester(SimclrTester):
    """The backbone of the tester of SimCLR."""

    model_type = "swav"
    config_fields: ClassVar = {**SimclrTester.config_fields, **FIELDS}


class SwavXresnet1dTester(SimclrXresnet1dTester):
    """The backbone of the tester of xresnet1d."""

    model_type = "swav"
    config_fields: ClassVar = {**SimclrXresnet1dTester.config_fields, **FIELDS}


OTHERS = {"xresnet1d": SwavXresnet1dTester}
