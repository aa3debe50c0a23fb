"""The signal contract of CPC (see `docs/systems/cpc.md`)."""

from collections.abc import Sequence
from typing import Any

from ...errors import LeadError
from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["CpcFeatureExtractor"]

# PTB-XL in mV, as stored with ecg-selfsupervised: mean of the record means, and deviation over all records and samples.
_CONSTANTS = {
    "I": (-0.00184586, 0.16401004),
    "II": (-0.00130277, 0.1647168),
    "III": (0.00054329, 0.17128962),
    "aVR": (0.00155546, 0.14030828),
    "aVL": (-0.00114379, 0.14606956),
    "aVF": (-0.00035649, 0.14656108),
    "V1": (0.00017031, 0.23374124),
    "V2": (-0.00091313, 0.33767231),
    "V3": (-0.00148835, 0.33362807),
    "V4": (-0.00174687, 0.30583013),
    "V5": (-0.00077071, 0.2731171),
    "V6": (-0.00207407, 0.27554379),
}


class CpcFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, windows of 10 s at 100 Hz = 1000 samples, each lead scaled by its mean and deviation in PTB-XL.

    This is the preprocessing of ecg-selfsupervised (Mehari & Strodthoff 2022), in pretraining and downstream and for
    every corpus. The network takes no attention mask: a recording shorter than a window is an error, and the last
    window is aligned to the end of the recording.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 100.
        window_size: Window in samples. Default: 1000; the published downstream tasks use 250.
        window_stride: Stride between windows in samples. Default: half a window.
        normalization: Scaling of the signal. Default: `"constants"`.
        normalization_mean: Mean of each lead in mV. Default: that of PTB-XL.
        normalization_std: Standard deviation of each lead in mV. Default: that of PTB-XL.
        return_attention_mask: Return an attention mask. Default: no.
        **kwargs: Further fields of `EcgFeatureExtractor`.

    Raises:
        LeadError: A lead without a stored mean and deviation.

    Example:
        >>> CpcFeatureExtractor(lead_names=["I", "V2"]).normalization_std
        [0.16401004, 0.33767231]
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 100,
        window_size: int = 1000,
        window_stride: int | None = None,
        normalization: str = "constants",
        normalization_mean: Sequence[float] | None = None,
        normalization_std: Sequence[float] | None = None,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ):
        if normalization == "constants" and normalization_mean is None and normalization_std is None:
            unknown = [lead for lead in lead_names if lead not in _CONSTANTS]
            if unknown:
                raise LeadError(
                    f"Leads {', '.join(unknown)} have no mean and deviation in PTB-XL; expected "
                    f"{', '.join(_CONSTANTS)}. Set normalization_mean and normalization_std, or another normalization."
                )
            normalization_mean, normalization_std = zip(*(_CONSTANTS[lead] for lead in lead_names), strict=True)
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            window_stride=max(1, window_size // 2) if window_stride is None else window_stride,
            normalization=normalization,
            normalization_mean=normalization_mean,
            normalization_std=normalization_std,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
