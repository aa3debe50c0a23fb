"""The signal contract of SI-BeatGAN."""

from ..beatgan.feature_extraction_beatgan import BeatganFeatureExtractor

__all__ = ["SiBeatganFeatureExtractor"]


class SiBeatganFeatureExtractor(BeatganFeatureExtractor):
    """The contract of BeatGAN: single beats of lead MLII at 360 Hz, scaled to -1 ... 1.

    For the arguments see `BeatganFeatureExtractor`.
    """
