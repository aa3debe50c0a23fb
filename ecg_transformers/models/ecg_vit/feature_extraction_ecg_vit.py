"""The signal contract of the plain vision transformer (see `docs/systems/ecg_vit.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["EcgVitFeatureExtractor"]


class EcgVitFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, 10 s at 360 Hz = 3600 samples = 144 patches of 25, each lead of each window z-scored.

    Length and number of patches are those of MAE-MoCo, whose publication states "z-score" without an axis and no
    sampling rate (its three corpora consist mostly of 10-s recordings). Short recordings are padded: the encoder takes
    an attention mask.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 360.
        window_size: Window in samples. Default: 3600.
        patch_size: Patch in samples. Default: 25 (hyper-parameter table of MAE-MoCo).
        normalization: Scaling of the signal. Default: `"record_lead"`.
        allow_short: Pad recordings shorter than a window. Default: yes.
        **kwargs: Further fields of `EcgFeatureExtractor`.

    Example:
        >>> print(EcgVitFeatureExtractor().describe().splitlines()[2])
        3. resample   to 360 Hz, polyphase with anti-alias filter
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 360,
        window_size: int = 3600,
        patch_size: int | None = 25,
        normalization: str = "record_lead",
        allow_short: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            patch_size=patch_size,
            normalization=normalization,
            allow_short=allow_short,
            **kwargs,
        )
