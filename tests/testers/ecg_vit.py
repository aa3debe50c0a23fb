"""The plain vision transformer for the conformance tests."""

from typing import ClassVar

from .mae_moco import MaeMocoTester

_ENCODER = ("window_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


class EcgVitTester(MaeMocoTester):
    """The encoder of the tester of MAE-MoCo."""

    model_type = "ecg_vit"
    config_fields: ClassVar = {name: MaeMocoTester.config_fields[name] for name in _ENCODER}
    twins: ClassVar = {}
