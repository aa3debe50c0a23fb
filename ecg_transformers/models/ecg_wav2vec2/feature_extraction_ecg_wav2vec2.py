"""The signal contract of Wav2Vec 2.0 with CMSC and random lead masking (see `docs/systems/ecg_wav2vec2.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["EcgWav2vec2FeatureExtractor"]


class EcgWav2vec2FeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, windows of 5 s at 500 Hz = 2500 samples, in millivolts without filter or normalization (published).

    Leads that a recording lacks are zeros: the model was trained with random leads set to zero. Short recordings are
    padded: the encoder takes an attention mask.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 500.
        window_size: Window in samples. Default: 2500.
        normalization: Scaling of the signal. Default: `"none"`.
        missing_leads: How missing leads are handled. Default: `"mask"`.
        allow_short: Pad recordings shorter than a window. Default: yes.
        **kwargs: Further fields of `EcgFeatureExtractor`.

    Example:
        >>> extractor = EcgWav2vec2FeatureExtractor()
        >>> extractor.window_seconds, extractor.missing_leads
        (5.0, 'mask')
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 500,
        window_size: int = 2500,
        normalization: str = "none",
        missing_leads: str = "mask",
        allow_short: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            normalization=normalization,
            missing_leads=missing_leads,
            allow_short=allow_short,
            **kwargs,
        )
