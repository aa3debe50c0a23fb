"""Scores of beats of a corpus by a checkpoint."""

import numpy as np
import torch
from transformers import AutoConfig, AutoFeatureExtractor

from ...auto import ARCHITECTURES
from ...corpora.prepared import Corpus
from ...errors import CheckpointError
from ...features.agreement import check_contract
from ...inference.loading import checkpoint_errors, quiet_loading
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
            config = AutoConfig.from_pretrained(checkpoint)
            self.extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
            row = ARCHITECTURES.get(config.model_type)
            kind = None if row is None else row.anomaly_detection
            if kind is None:
                raise CheckpointError(
                    f"{checkpoint} is of the type {config.model_type!r}, which detects no anomalies. Expected a "
                    "checkpoint of beatgan or si_beatgan."
                )
            self.model = kind.from_pretrained(checkpoint).to(device).eval()
        check_contract(config, self.extractor)

    @property
    def threshold(self) -> float | None:
        """Score from which a beat counts as abnormal; None before calibration."""
        return self.model.config.anomaly_threshold

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
