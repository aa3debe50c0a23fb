"""Signal contract of BYOL: that of its backbone; by default xresnet1d on raw millivolts."""

from ..simclr.feature_extraction_simclr import SimclrFeatureExtractor

__all__ = ["ByolFeatureExtractor"]


class ByolFeatureExtractor(SimclrFeatureExtractor):
    """Twelve leads, windows of 2.5 s at 100 Hz, not normalized (published); set the fields for another backbone.

    For the arguments see `SimclrFeatureExtractor`.
    """
