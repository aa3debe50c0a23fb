"""The toy autoencoder for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class ToyAutoencoderTester(EcgModelTester):
    """Two layers on windows of 30 samples."""

    model_type = "toy_autoencoder"
    config_fields: ClassVar = {"window_size": 30, "hidden_size": 6}
    input_shape = (12, 30)
    num_hidden_layers = 2
    seq_length = 30
    hidden_size = 6
    takes_attention_mask = False
    takes_any_window = True
