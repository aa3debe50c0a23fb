"""MoCo v3 over the plain vision transformer for the conformance tests; tests/models/test_moco_v3.py adds xresnet1d."""

from typing import ClassVar

from .ecg_vit import EcgVitTester
from .tester import EcgModelTester


class MocoV3Tester(EcgModelTester):
    """The backbone of the tester of `ecg_vit`; its fields are given at the top level."""

    model_type = "moco_v3"
    config_fields: ClassVar = {
        "backbone_config": {"model_type": "ecg_vit"},
        **EcgVitTester.config_fields,
        "projector_hidden_size": 16,
        "projection_size": 8,
        # No multiple of the batch, so that the queue wraps round inside a batch.
        "queue_size": 10,
    }
    input_shape = EcgVitTester.input_shape
    num_hidden_layers = EcgVitTester.num_hidden_layers
    seq_length = EcgVitTester.seq_length
    hidden_size = EcgVitTester.hidden_size
    num_attention_heads = EcgVitTester.num_attention_heads
    twins: ClassVar = {"momentum_encoder": "moco_v3", "momentum_projector": "projector"}
    feature_extractor_fields: ClassVar = EcgVitTester.feature_extractor_fields
