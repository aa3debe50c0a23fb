"""CPC for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class CpcTester(EcgModelTester):
    """Two convolutions that make 16 tokens of 64 samples, and two recurrent layers."""

    model_type = "cpc"
    config_fields: ClassVar = {
        "window_size": 64,
        "encoder_sizes": [6, 8],
        "encoder_kernel_sizes": [4, 3],
        "encoder_strides": [2, 2],
        "hidden_size": 10,
        "num_hidden_layers": 2,
        "offsets": [1, 3],
        "num_negatives": 5,
        "head_hidden_sizes": [6],
        # Two passes in training mode draw two masks; what a dropout does is tested with the head.
        "head_dropout": 0.0,
    }
    input_shape = (12, 64)
    num_hidden_layers = 2
    seq_length = 16
    hidden_size = 10
    hidden_state_shapes: ClassVar = [(16, 8), (16, 10), (16, 10)]
    takes_attention_mask = False
    takes_any_window = True
    # Four tokens: the farthest prediction is three steps ahead.
    shortest_window = 16
    records_are_independent = False
    feature_extractor_fields: ClassVar = {"sampling_rate": 250, "window_size": 625, "normalization": "record"}
