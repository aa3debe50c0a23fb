"""Noise robustness: six published noise levels, added to evaluation windows before normalization.

Baseline wander, power-line interference, muscle noise and baseline shifts, in this order, on the signal in mV at the
rate of the model; the contract's normalization follows (the published evaluation omits it). Source: Mehari & Strodthoff
2022, noise robustness experiment, and its code ecg-selfsupervised. Evaluation only.

The noise of a window is a pure function of (seed, record id, number of the window in its record, level). Windows of one
record get independent noise, and neither batch size nor model changes it, so that two models with the same leads, rate
and windows see the same noisy signal and can be compared pairwise. Models with different windows (10 s and 2.5 s) get
different noise of the same distribution; at different rates, waves and shifts of a window are the same and the muscle
noise has the same density.
"""

import copy
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..augmentations.noise import PhysiologicalNoise
from ..errors import SignalError
from ..hashing import integer_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..corpora.prepared import Corpus
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["NOISE_LEVELS", "WindowNoise", "check_noise_level", "check_noise_place", "noise_of_level", "window_numbers"]

# Maximum amplitudes in mV: baseline wander, muscle noise, power-line interference, baseline shift. Not every component
# grows from one level to the next.
NOISE_LEVELS: "Mapping[int, tuple[float, float, float, float]]" = MappingProxyType(
    {
        1: (0.05, 0.25, 0.1, 0.5),
        2: (0.1, 0.5, 0.2, 1.0),
        3: (0.1, 1.0, 0.2, 2.0),
        4: (0.2, 1.0, 0.4, 2.0),
        5: (0.2, 1.5, 0.4, 2.5),
        6: (0.3, 2.0, 0.5, 3.0),
    }
)


def check_noise_level(level: int) -> int:
    """Return the level, checked.

    Args:
        level: 1 to 6.

    Raises:
        SignalError: It is not one of the six.
    """
    if isinstance(level, bool) or level not in NOISE_LEVELS:
        raise SignalError(f"the noise level is {level!r}; expected a whole number from 1 to {max(NOISE_LEVELS)}.")
    return int(level)


def noise_of_level(level: int, sampling_rate: float) -> PhysiologicalNoise:
    """Return the noise of a level.

    Args:
        level: 1 to 6.
        sampling_rate: Sampling rate of the windows in Hz.

    Raises:
        SignalError: There is no such level.
    """
    wander, muscle, powerline, shift = NOISE_LEVELS[check_noise_level(level)]
    return PhysiologicalNoise(
        sampling_rate,
        max_baseline_wander=wander,
        max_powerline=powerline,
        max_electromyographic=muscle,
        max_baseline_shift=shift,
    )


def window_numbers(record_index: np.ndarray) -> np.ndarray:
    """Number the windows of each record from 0.

    Args:
        record_index: Record of each window, int64 `(windows,)`, ascending.

    Example:
        >>> window_numbers(np.array([3, 3, 3, 4, 5, 5])).tolist()
        [0, 1, 2, 0, 0, 1]
    """
    return np.arange(len(record_index)) - np.searchsorted(record_index, record_index)


def check_noise_place(extractor: "EcgFeatureExtractor", corpus: "Corpus") -> None:
    """Refuse a contract or a corpus that does not support noise between cutting and normalization.

    Args:
        extractor: The checkpoint's feature extractor.
        corpus: The records.

    Raises:
        SignalError: The signal is normalized before its windows are cut.
    """
    contract = extractor.contract
    if contract.normalization == "none":
        return
    if "normalize" in (corpus.info.get("preprocessed_by") or {}).get("steps", ()):
        raise SignalError(
            f"the corpus {corpus.name} is stored normalized, but noise is added in mV before normalization; expected "
            "a corpus in mV. Prepare it without normalization."
        )
    if contract.order_of("normalize") < contract.order_of("window"):
        raise SignalError(
            "this checkpoint normalizes whole recordings before it cuts windows and does not support added noise, "
            "which precedes normalization; expected a contract that cuts first. Omit noise_levels."
        )


class WindowNoise:
    """Noise of one level for the windows of a corpus, between cutting and normalization.

    `extractor` prepares records up to windows in mV; `add` adds the noise and normalizes by the saved contract. A lead
    that the contract masks (absent, or flat in the recording) stays zero; a flat lead that it keeps consists of noise
    only. Filters of the contract precede the noise, since windows are cut after them.

    Args:
        extractor: The checkpoint's feature extractor.
        corpus: The records, for their ids.
        level: 1 to 6.
        seed: Seed of the noise. Default: 0.

    Raises:
        SignalError: There is no such level, or the signal is normalized before its windows are cut.
    """

    def __init__(self, extractor: "EcgFeatureExtractor", corpus: "Corpus", *, level: int, seed: int = 0) -> None:
        self.noise = noise_of_level(level, extractor.sampling_rate)
        self.level = level
        self.seed = seed
        self.record_ids = corpus.record_ids
        self._saved = extractor
        check_noise_place(extractor, corpus)
        self.extractor = copy.deepcopy(extractor)
        self.extractor.normalization = "none"
        self.extractor.normalization_mean = self.extractor.normalization_std = None

    def add(
        self, inputs: "Mapping[str, torch.Tensor]", record_index: np.ndarray, numbers: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """Add the noise to a batch of windows and normalize it.

        Args:
            inputs: Output of `extractor`: `input_values (windows, leads, samples)` in mV, and the masks.
            record_index: Record of each window in the corpus, int64 `(windows,)`.
            numbers: Number of each window in its record, int64 `(windows,)`.

        Returns:
            The model's inputs.
        """
        windows = inputs["input_values"]
        noisy = self.noise.apply(windows, self.draws(windows.shape[1], windows.shape[2], record_index, numbers))
        values = self._saved.normalize_batch(noisy, inputs.get("attention_mask"), inputs.get("lead_mask"))
        return dict(inputs) | {"input_values": values}

    def draws(
        self, num_leads: int, num_samples: int, record_index: np.ndarray, numbers: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """Draw the noise of some windows.

        Args:
            num_leads: Number of leads.
            num_samples: Samples per window.
            record_index: As in `add`.
            numbers: As in `add`.
        """
        seeds = integer_hash(self.seed, self.record_ids[record_index], numbers, self.level)
        generator = torch.Generator()
        own = (generator.manual_seed(int(seed)) for seed in seeds)
        return self.noise.draw(len(seeds), num_leads, num_samples, own)
