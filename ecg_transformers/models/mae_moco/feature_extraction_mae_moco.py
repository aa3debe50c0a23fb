"""The signal contract of MAE-MoCo."""

from ..ecg_vit.feature_extraction_ecg_vit import EcgVitFeatureExtractor

__all__ = ["MaeMocoFeatureExtractor"]


class MaeMocoFeatureExtractor(EcgVitFeatureExtractor):
    """Twelve leads, 10 s at 360 Hz = 3600 samples = 144 patches of 25, each lead of each window z-scored.

    For the arguments see `EcgVitFeatureExtractor`.

    Example:
        >>> print(MaeMocoFeatureExtractor().describe().splitlines()[2])
        3. resample   to 360 Hz, polyphase with anti-alias filter
    """
