"""Wav2Vec 2.0 with CMSC and random lead masking for the conformance tests."""

from typing import ClassVar

from .tester import EcgModelTester


class EcgWav2vec2Tester(EcgModelTester):
    """Two convolutions that make 15 frames of 64 samples, and two layers; the library's tests pass single windows."""

    model_type = "ecg_wav2vec2"
    config_fields: ClassVar = {
        "window_size": 64,
        "conv_dim": [6, 8],
        "conv_kernel": [3, 2],
        "conv_stride": [2, 2],
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
        # Two passes in training mode draw two masks.
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "feat_proj_dropout": 0.0,
        "feat_quantizer_dropout": 0.0,
        "mask_time_length": 3,
        "num_codevectors_per_group": 5,
        "codevector_size": 8,
        "projection_size": 6,
        "num_negatives": 7,
        # Pairs of windows are tested with the objective.
        "cmsc_weight": 0.0,
        "num_segments": 1,
    }
    input_shape = (12, 64)
    num_hidden_layers = 2
    seq_length = 15
    hidden_size = 16
    num_attention_heads = 4
    takes_left_padding = False
    takes_any_window = True
    # Three frames: two of them at least are masked.
    shortest_window = 13
    feature_extractor_fields: ClassVar = {"sampling_rate": 100, "window_size": 500, "normalization": "record"}
