"""The signal contract of MAE-NextClip."""

from ..mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor

__all__ = ["MaeNextclipFeatureExtractor"]


class MaeNextclipFeatureExtractor(MaeMocoFeatureExtractor):
    """The contract of MAE-MoCo: twelve leads, 10 s at 360 Hz = 144 patches of 25, each lead z-scored.

    For the arguments see `MaeMocoFeatureExtractor`.
    """
