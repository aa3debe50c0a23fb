"""The shifted-window transformer for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class Swin1dTester(EcgModelTester):
    """Two stages of one and two blocks on 16 tokens, then 8, in attention windows of 4."""

    model_type = "swin1d"
    config_fields: ClassVar = {
        "window_size": 32,
        "patch_size": 2,
        "embedding_size": 8,
        "depths": [1, 2],
        "num_attention_heads": [2, 4],
        "attention_window_size": 4,
    }
    input_shape = (12, 32)
    num_hidden_layers = 2
    seq_length = 8
    hidden_size = 16
    num_attention_heads = 4
    hidden_state_shapes: ClassVar = [(16, 8), (16, 8), (8, 16)]
    attention_shapes: ClassVar = [(16, 2, 4, 4), (8, 4, 4, 4), (8, 4, 4, 4)]
    takes_attention_mask = False
    feature_extractor_fields: ClassVar = {"sampling_rate": 128, "window_size": 1280}
