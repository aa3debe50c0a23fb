"""Signal contract of the toy score."""

from ecg_transformers.features.extractor import EcgFeatureExtractor


class ToyScoreFeatureExtractor(EcgFeatureExtractor):
    """Windows of one second at 100 Hz."""

    def __init__(self, sampling_rate=100, window_size=100, **kwargs):
        super().__init__(sampling_rate=sampling_rate, window_size=window_size, **kwargs)
