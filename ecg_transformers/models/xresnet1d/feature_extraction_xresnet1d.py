"""The signal contract of xresnet1d on PTB-XL (see `docs/systems/xresnet1d.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor
from ...signals.leads import STANDARD_LEADS

__all__ = ["Xresnet1dFeatureExtractor"]

# Mean and standard deviation (mV) for all leads: the scaler stored with the published supervised models.
_BENCHMARK_MEAN = -0.00077717
_BENCHMARK_STD = 0.23895642


class Xresnet1dFeatureExtractor(EcgFeatureExtractor):
    """Twelve leads, windows of 2.5 s at 100 Hz = 250 samples, stride 1.25 s, scaled by a constant mean and deviation.

    This is the preprocessing of the PTB-XL benchmark (Strodthoff et al. 2021). The network takes no attention mask: a
    recording shorter than a window is an error, and the last window is aligned to the end of the recording.

    Args:
        lead_names: Lead names in order. Default: the twelve standard leads.
        sampling_rate: Sampling rate in Hz. Default: 100.
        window_size: Window in samples. Default: 250.
        window_stride: Stride between windows in samples. Default: half a window, i.e. seven windows in 10 s.
        normalization: Scaling of the signal. Default: `"constants"`, with the mean (-0.00077717 mV) and standard
            deviation (0.23895642 mV) of PTB-XL for every lead. The encoders of ecg-selfsupervised take raw millivolts
            (`"none"`).
        normalization_mean: Mean of each lead in mV. Default: that of the benchmark.
        normalization_std: Standard deviation of each lead in mV. Default: that of the benchmark.
        return_attention_mask: Return an attention mask. Default: no.
        **kwargs: Further fields of `EcgFeatureExtractor`.

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
