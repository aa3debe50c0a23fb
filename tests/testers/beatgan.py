"""BeatGAN for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class BeatganTester(EcgModelTester):
    """Two stages on beats of two leads and 48 samples: 24, 12, 6 steps."""

    model_type = "beatgan"
    config_fields: ClassVar = {
        "num_leads": 2,
        "window_size": 48,
        "samples_before": 20,
        "base_channels": 4,
        "num_hidden_layers": 2,
        "latent_size": 5,
        "warp_samples": 3,
    }
    input_shape = (2, 48)
    num_hidden_layers = 2
    seq_length = 6
    hidden_size = 16
    hidden_state_shapes: ClassVar = [(24, 4), (12, 8), (6, 16)]
    takes_attention_mask = False
    resizes_window = False
    draws_change_the_loss = False
    records_are_independent = False
    feature_extractor_fields: ClassVar = {"sampling_rate": 250, "window_size": 224}
