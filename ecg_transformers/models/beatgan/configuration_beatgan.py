"""Configuration of BeatGAN."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import EcgConfig
from ...errors import CheckpointError

__all__ = ["BeatganConfig"]

_MOST_CHANNELS = 10_000
_MOST_STAGES = 16


@strict
class BeatganConfig(EcgConfig):
    """Configuration of BeatGAN; the defaults are the published network.

    Shared fields (leads, rate, labels, head) are described in `EcgConfig` and `EcgBaseConfig`. "Published" is BeatGAN
    (Zhou et al. 2019) and its public code.

    Args:
        num_leads (`int`, default 1, published): Number of leads.
        lead_names (`list[str]`, default `["MLII"]`, published): Lead names in input order.
        sampling_rate (`int` or `float`, default 360, published): Sampling rate of the input in Hz.
        window_size (`int`, default 320, published): Samples of a beat, a multiple of 32.
        samples_before (`int`, default 140, published): Samples of a beat before its R peak.
        reference (`str`, default `"none"`, published): What is taken off each beat before it is scaled: `"none"`, or
            the median beat of its own recording (`"record_median_beat"`, ours).
        base_channels (`int`, default 32, published): Channels of the first convolution; every stage doubles them.
        num_hidden_layers (`int`, default 4, published): Stages after the first convolution, each of stride 2.
        hidden_size (`int`): Channels of the last stage, `base_channels * 2**num_hidden_layers`; derived.
        latent_size (`int`, default 50, published): Width of the latent vector. 0 leaves its layer out, as in a
            truncated encoder, whose pooled output is the mean over the tokens.
        discriminator_base_channels (`int`, *optional*): `base_channels` of the discriminator. Default: the same.
        feature_matching_weight (`float`, default 1, published): Weight of the distance of the discriminator's features
            in the loss of the generator. With 0 no discriminator is built: an autoencoder.
        reinitialize_below (`float`, default 5e-6, published): The discriminator is reinitialized after a step in
            which its loss was lower. 0: never.
        official_order (`bool`, default `False`): Compute the generator's forward pass twice in a step, as the public
            code does, instead of once; weights and statistics are the same.
        warp_probability (`float`, default 0, published; 2/3 in its augmented run): Share of the training beats that are
            warped in time.
        warp_samples (`int`, default 7, published): Samples before, and as many behind the R peak, that a warp doubles,
            and as many that it leaves out.
        anomaly_threshold (`float`, *optional*): Score from which a beat counts as abnormal, set by `calibrate`.
        score_statistics (`dict`, *optional*): Statistics of the scores of normal beats, set by `calibrate`: `count`,
            `min`, `max`, `mean`, `std`, `q50`, `q90`, `q95`, `q99`, `q999`, and the `quantile` of the threshold.

    Raises:
        CheckpointError: The fields contradict each other.
    """

    model_type = "beatgan"
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"latent_size"})

    num_leads: int = 1
    sampling_rate: int | float = 360
    window_size: int = 320
    samples_before: int = 140
    reference: Literal["none", "record_median_beat"] = "none"
    base_channels: int = 32
    num_hidden_layers: int = 4
    hidden_size: int | None = None  # type: ignore[assignment]
    latent_size: int = 50
    discriminator_base_channels: int | None = None
    feature_matching_weight: float | int = 1.0
    reinitialize_below: float | int = 5e-6
    official_order: bool = False
    warp_probability: float | int = 0.0
    warp_samples: int = 7
    anomaly_threshold: float | int | None = None
    score_statistics: dict[str, float | int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if not 1 <= self.num_hidden_layers <= _MOST_STAGES:
            raise CheckpointError(f"num_hidden_layers is {self.num_hidden_layers}; expected 1 to {_MOST_STAGES}.")
        for name in ("base_channels", "discriminator_base_channels"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _MOST_CHANNELS:
                raise CheckpointError(f"{name} is {value}; expected 1 to {_MOST_CHANNELS:,}.")
        channels = self.stage_sizes[-1]
        if self.hidden_size not in (None, channels):
            raise CheckpointError(
                f"hidden_size is {self.hidden_size}, but the last stage has {channels} channels (base_channels, "
                "num_hidden_layers). Leave hidden_size out, or set base_channels."
            )
        self.hidden_size = channels
        if self.lead_names is None and self.num_leads == 1:
            self.lead_names = ["MLII"]
        super().__post_init__(**kwargs)
        halvings = self.num_hidden_layers + 1
        self._check_window(2**halvings, f"multiple of {2**halvings} samples ({halvings} convolutions of stride 2)")
        if not 0 <= self.samples_before < self.window_size:
            raise CheckpointError(
                f"samples_before is {self.samples_before}; expected 0 to {self.window_size - 1} (window_size)."
            )
        if not 0 <= self.warp_probability <= 1 or not self.reinitialize_below >= 0:
            raise CheckpointError(
                f"warp_probability is {self.warp_probability} and reinitialize_below {self.reinitialize_below}; "
                "expected a probability, and a loss of at least 0."
            )
        if self.score_statistics is not None:
            self.score_statistics = dict(self.score_statistics)

    @property
    def stage_sizes(self) -> list[int]:
        """Channels after the first convolution and after each stage."""
        return [self.base_channels * 2**stage for stage in range(self.num_hidden_layers + 1)]

    @property
    def num_tokens(self) -> int:
        """Time steps after the last stage."""
        return self.window_size // 2 ** (self.num_hidden_layers + 1)

    @property
    def pooled_size(self) -> int:
        """Width of `pooler_output`: the latent vector, or without one the mean over the tokens."""
        return self.latent_size or self.stage_sizes[-1]

    def check_warp(self) -> None:
        """Refuse warps that do not fit into the beat; only what warps calls this.

        Raises:
            CheckpointError: A side of the R peak has too few samples.
        """
        left, right = self.samples_before, self.window_size - self.samples_before - 1
        if not 0 <= 2 * self.warp_samples <= min(left, right):
            raise CheckpointError(
                f"warp_samples is {self.warp_samples}: {2 * self.warp_samples} samples on each side of the R peak, "
                f"which has {left} before and {right} that can be doubled behind. Set a smaller warp_samples, or "
                "samples_before."
            )
