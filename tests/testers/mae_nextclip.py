"""MAE-NextClip for the conformance tests."""

from typing import ClassVar

from .mae_moco import MaeMocoTester

_MAE_MOCO_ONLY = ("projector_hidden_size", "projection_size", "queue_size")


class MaeNextclipTester(MaeMocoTester):
    """The encoder of the tester of MAE-MoCo; clips of 6 samples after at least 3."""

    model_type = "mae_nextclip"
    config_fields: ClassVar = {
        **{name: value for name, value in MaeMocoTester.config_fields.items() if name not in _MAE_MOCO_ONLY},
        "nextclip_size": 6,
        "nextclip_context_size": 3,
    }
    twins: ClassVar = {}
