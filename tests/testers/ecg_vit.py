"""The plain vision transformer for the conformance tests."""

from typing import ClassVar

from .mae_moco import MaeMocoTester
from .tester import EcgModelTester

_ENCODER = ("window_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


class EcgVitTester(EcgModelTester):
    """The encoder of the tester of MAE-MoCo."""

    model_type = "ecg_vit"
    config_fields: ClassVar = {name: MaeMocoTester.config_fields[name] for name in _ENCODER}
    input_shape = MaeMocoTester.input_shape
    num_hidden_layers = MaeMocoTester.num_hidden_layers
    seq_length = MaeMocoTester.seq_length
    hidden_size = MaeMocoTester.hidden_size
    num_attention_heads = MaeMocoTester.num_attention_heads
    feature_extractor_fields: ClassVar = MaeMocoTester.feature_extractor_fields
