"""The signal contract of BeatGAN (see `docs/systems/beatgan.md`)."""

from collections.abc import Sequence
from typing import Any

from ...features.extractor import EcgFeatureExtractor

__all__ = ["BeatganFeatureExtractor"]


class BeatganFeatureExtractor(EcgFeatureExtractor):
    """Beats of lead MLII at 360 Hz: 3-45 Hz, 320 samples around each R peak, scaled to -1 ... 1.

    This is the preparation of the public code of BeatGAN (Zhou et al. 2019). The R peaks are given in the call
    (`peaks=`), from annotations or from `signals.beats.detect_r_peaks`. Each beat is scaled by itself, so its amplitude
    is lost.

    Args:
        lead_names: Lead names in order. Default: MLII.
        sampling_rate: Sampling rate in Hz. Default: 360.
        window_size: Samples of a beat. Default: 320.
        window_mode: Windows of a recording. Default: `"beats"`.
        samples_before: Samples of a beat before the R peak. Default: 140.
        samples_after: Samples of a beat from the R peak on. Default: the rest of the window, 180.
        reference: What is taken off each beat. Default: `"none"`; ours: `"record_median_beat"`.
        bandpass: Edges of the band-pass in Hz. Default: (3, 45).
        fir_taps: Coefficients of its FIR filter. Default: 109.
        normalization: Scaling of the signal. Default: `"minmax_lead"`.
        return_attention_mask: Return an attention mask. Default: no.
        **kwargs: Further fields of `EcgFeatureExtractor`.
    """

    def __init__(
        self,
        lead_names: Sequence[str] = ("MLII",),
        sampling_rate: float = 360,
        window_size: int = 320,
        window_mode: str = "beats",
        samples_before: int | None = 140,
        samples_after: int | None = None,
        reference: str = "none",
        bandpass: Sequence[float | None] | None = (3, 45),
        fir_taps: int | None = 109,
        normalization: str = "minmax_lead",
        return_attention_mask: bool = False,
        **kwargs: Any,
    ):
        if samples_before is not None and samples_after is None:
            samples_after = window_size - samples_before
        super().__init__(
            lead_names=lead_names,
            sampling_rate=sampling_rate,
            window_size=window_size,
            window_mode=window_mode,
            samples_before=samples_before,
            samples_after=samples_after,
            reference=reference,
            bandpass=bandpass,
            fir_taps=fir_taps,
            normalization=normalization,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
