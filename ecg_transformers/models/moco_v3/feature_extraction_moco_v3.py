"""Signal contract of MoCo v3: that of its backbone; by default the plain vision transformer's."""

from ..ecg_vit.feature_extraction_ecg_vit import EcgVitFeatureExtractor

__all__ = ["MocoV3FeatureExtractor"]


class MocoV3FeatureExtractor(EcgVitFeatureExtractor):
    """Twelve leads, 10 s at 360 Hz, each lead of each window z-scored; set the fields for another backbone.

    For the arguments see `EcgVitFeatureExtractor`. A backbone without patches takes `patch_size=None`.
    """
