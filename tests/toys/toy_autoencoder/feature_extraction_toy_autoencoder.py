"""Signal contract of the toy autoencoder."""

from ecg_transformers.features.extractor import EcgFeatureExtractor


class ToyAutoencoderFeatureExtractor(EcgFeatureExtractor):
    """Two seconds at 50 Hz, whole windows only."""

    def __init__(self, sampling_rate=50, window_size=100, return_attention_mask=False, **kwargs):
        super().__init__(
            sampling_rate=sampling_rate, window_size=window_size, return_attention_mask=return_attention_mask, **kwargs
        )
