"""xresnet1d for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class Xresnet1dTester(EcgModelTester):
    """xresnet1d with two stages of one and two blocks; 49 samples make 13 steps, then 7."""

    model_type = "xresnet1d"
    config_fields: ClassVar = {
        "window_size": 49,
        "stem_sizes": [4, 4, 8],
        "depths": [1, 2],
        "width": 4,
        "head_hidden_sizes": [6],
        # Two passes in training mode draw two masks; what a dropout does is tested with the head.
        "head_dropout": 0.0,
    }
    input_shape = (12, 49)
    num_hidden_layers = 2
    seq_length = 7
    hidden_size = 16
    hidden_state_shapes: ClassVar = [(13, 8), (13, 16), (7, 16)]
    takes_attention_mask = False
    takes_any_window = True
    records_are_independent = False
    feature_extractor_fields: ClassVar = {"sampling_rate": 250, "window_size": 625, "normalization": "record"}
