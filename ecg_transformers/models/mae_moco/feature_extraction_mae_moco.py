"""The signal contract of MAE-MoCo (specification, section 1)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["MaeMocoFeatureExtractor"]


class MaeMocoFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, 10 s at 360 Hz = 3600 samples = 144 patches of 25, each lead of each window z-scored.

    Patch length and number are the publication's; it says "z-score" without an axis and gives no sampling rate (all
    three of its corpora hold mostly 10 s). The encoder takes an attention mask, so short recordings are padded.

    Args:
        lead_names: the twelve standard leads.
        sampling_rate: 360 Hz.
        window_size: 3600 samples.
        patch_size: 25 samples, MAE-MoCo's hyper-parameter table.
        normalization: "record_lead"; the publication leaves the axis open.
        allow_short: True.
        **kwargs: the other fields of `EcgFeatureExtractor`.

    Example:
        >>> print(MaeMocoFeatureExtractor().describe().splitlines()[2])
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
