"""Scores of beats of a corpus by a checkpoint."""

import numpy as np
import torch
from transformers import AutoFeatureExtractor

from ...corpora.prepared import Corpus
from ...features.agreement import check_contract
from ...inference.loading import checkpoint_errors, load_anomaly_detector, quiet_loading
from ...trainer.data import WindowDataset

__all__ = ["BeatScorer"]

# Beats per pass; larger batches are slower per beat on a CPU (cache).
BATCH_SIZE = 64


class BeatScorer:
    """A checkpoint that scores beats.

    Args:
        checkpoint: Folder or Hub name.
        device: Device of the model. Default: CPU.

    Raises:
        CheckpointError: It cannot be opened, or its family has no anomaly detection.
    """

    def __init__(self, checkpoint: str, *, device: str = "cpu") -> None:
        with checkpoint_errors(checkpoint), quiet_loading():
            self.model = load_anomaly_detector(checkpoint).to(device).eval()
            self.extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
        check_contract(self.model.config, self.extractor)

    @property
    def threshold(self) -> float | None:
        """Score from which a beat counts as abnormal; None before calibration."""
        return self.model.config.anomaly_threshold

    def record_thresholds(self, scores: np.ndarray, parents: np.ndarray) -> np.ndarray | None:
        """The threshold of each beat, scaled to its recording as the pipeline does with `calibrate="record"`.

        Args:
            scores: `(beats,)`.
            parents: Recording of each beat `(beats,)`.

        Returns:
            `(beats,)`; None if the checkpoint was not calibrated.
        """
        if self.threshold is None or self.model.config.score_statistics is None:
            return None
        thresholds = np.empty(len(scores))
        for parent in np.unique(parents):
            own = parents == parent
            thresholds[own] = self.threshold * self.model.record_level(torch.from_numpy(scores[own]))
        return thresholds

    @torch.inference_mode()
    def score(self, corpus: Corpus) -> np.ndarray:
        """Score of each beat of a corpus, float32 `(beats,)`.

        Args:
            corpus: Beats.
        """
        beats = WindowDataset(corpus, self.extractor)
        scores = []
        for first in range(0, len(beats), BATCH_SIZE):
            rows = np.arange(first, min(first + BATCH_SIZE, len(beats)))
            batch = beats.__getitems__(rows)["input_values"].to(self.model.device)
            scores.append(self.model(input_values=batch).score.float().cpu().numpy())
        return np.concatenate(scores)
