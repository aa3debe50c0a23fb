"""MAE-MoCo for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester

# Of encoder and decoder.
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
}


class MaeMocoTester(EcgModelTester):
    """MAE-MoCo with two blocks on 10 patches; the library's tests pad by two samples: one patch."""

    model_type = "mae_moco"
    config_fields: ClassVar = {
        "window_size": 20,
        "patch_size": 2,
        **SIZES,
        "projector_hidden_size": 16,
        "projection_size": 8,
        # No multiple of the batch, so that the queue wraps round inside a batch.
        "queue_size": 10,
    }
    input_shape = (12, 20)
    num_hidden_layers = 2
    seq_length = 11
    hidden_size = 32
    num_attention_heads = 4
    twins: ClassVar = {"momentum_encoder": "mae_moco", "momentum_projector": "projector"}
    feature_extractor_fields: ClassVar = {"sampling_rate": 100, "window_size": 1000}
