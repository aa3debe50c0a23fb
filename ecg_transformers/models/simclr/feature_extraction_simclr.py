"""Signal contract of SimCLR: that of its backbone; by default xresnet1d on raw millivolts."""

from collections.abc import Sequence
from typing import Any

from ...signals.leads import STANDARD_LEADS
from ..xresnet1d.feature_extraction_xresnet1d import Xresnet1dFeatureExtractor

__all__ = ["SimclrFeatureExtractor"]


class SimclrFeatureExtractor(Xresnet1dFeatureExtractor):
    """Twelve leads, windows of 2.5 s at 100 Hz, not normalized (published); set the fields for another backbone.

    For the other arguments see `Xresnet1dFeatureExtractor`.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 100.
        window_size: Window in samples. Default: 250.
        normalization: Scaling of the signal. Default: `"none"`, raw millivolts.
        **kwargs: Further fields of `Xresnet1dFeatureExtractor`.
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 100,
        window_size: int = 250,
        normalization: str = "none",
        **kwargs: Any,
    ):
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            normalization=normalization,
            **kwargs,
        )
