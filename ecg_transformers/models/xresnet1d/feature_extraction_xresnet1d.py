"""The signal contract of xresnet1d on PTB-XL (specification of ecg-selfsupervised, sections 1.2, 1.3, 8.1)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["Xresnet1dFeatureExtractor"]

# One mean and one deviation (mV) for all leads: the scaler that is stored with the published supervised models.
_BENCHMARK_MEAN = -0.00077717
_BENCHMARK_STD = 0.23895642


class Xresnet1dFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, windows of 2.5 s at 100 Hz = 250 samples, one every 1.25 s, scaled by one mean and deviation.

    That is the supervised benchmark's preprocessing. The network has no attention mask: a recording shorter than a
    window is an error, and the last of its windows ends with the recording.

    Args:
        lead_names: the twelve standard leads.
        sampling_rate: 100 Hz.
        window_size: 250 samples.
        window_stride: 125 samples: seven windows in ten seconds.
        normalization: "constants": the stored mean (-0.00077717 mV) and deviation (0.23895642 mV) of PTB-XL, the same
            for every lead. The self-supervised encoders of ecg-selfsupervised take raw millivolts ("none").
        normalization_mean: mV per lead; the benchmark's if not given.
        normalization_std: mV per lead; the benchmark's if not given.
        return_attention_mask: False.
        **kwargs: the other fields of `EcgFeatureExtractor`.

    Example:
        >>> print(Xresnet1dFeatureExtractor().describe().splitlines()[2])
        3. resample   to 100 Hz, polyphase with anti-alias filter
    """

    def __init__(
        self,
        lead_names: Sequence[str] = STANDARD_LEADS,
        sampling_rate: float = 100,
        window_size: int = 250,
        window_stride: int | None = None,
        normalization: str = "constants",
        normalization_mean: Sequence[float] | None = None,
        normalization_std: Sequence[float] | None = None,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ):
        if normalization == "constants" and normalization_mean is None and normalization_std is None:
            normalization_mean = [_BENCHMARK_MEAN] * len(lead_names)
            normalization_std = [_BENCHMARK_STD] * len(lead_names)
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
