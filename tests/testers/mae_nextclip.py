"""MAE-NextClip for the conformance tests."""

from typing import ClassVar

from .mae_moco import MaeMocoTester
from .tester import EcgModelTester

_MAE_MOCO_ONLY = ("projector_hidden_size", "projection_size", "queue_size")


class MaeNextclipTester(EcgModelTester):
    """The encoder of the tester of MAE-MoCo; clips of 6 samples after at least 3."""

    model_type = "mae_nextclip"
    config_fields: ClassVar = {
        **{name: value for name, value in MaeMocoTester.config_fields.items() if name not in _MAE_MOCO_ONLY},
        "nextclip_size": 6,
        "nextclip_context_size": 3,
    }
    input_shape = MaeMocoTester.input_shape
    num_hidden_layers = MaeMocoTester.num_hidden_layers
    seq_length = MaeMocoTester.seq_length
    hidden_size = MaeMocoTester.hidden_size
    num_attention_heads = MaeMocoTester.num_attention_heads
    feature_extractor_fields: ClassVar = MaeMocoTester.feature_extractor_fields
