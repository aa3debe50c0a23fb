"""The linear-probe curve over a pretraining run: a contrastive model that collapses is seen in time."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.utils import logging

from ...errors import CorpusError
from ...files import write_text
from ...hashing import integer_hash
from ...trainer.data import WindowDataset
from ...trainer.run_record import SpeedCallback

__all__ = ["ProbeCallback", "encode"]

logger = logging.get_logger(__name__)


@torch.no_grad()
def encode(
    encoder: Any,
    data: WindowDataset,
    records: Sequence[int] | np.ndarray,
    *,
    pooling: str = "cls_mean",
    batch_size: int = 256,
) -> torch.Tensor:
    """Encode records with the frozen encoder.

    Args:
        encoder: The downstream part of a pretraining model.
        data: Where the records are.
        records: Their numbers.
        pooling: `"cls"` (the encoder's `pooler_output`), `"mean"`, `"max"` or `"cls_mean"` of its tokens.
        batch_size: Records at a time.

    Returns:
        Features `(records, width)` float32, on the CPU.
    """
    from ...layers.pooling import Pooling

    device = next(encoder.parameters()).device
    pool = Pooling(pooling, encoder.config.hidden_size, cls_token=encoder.has_cls_token)
    was_training = encoder.training
    encoder.eval()
    features = []
    for first in range(0, len(records), batch_size):
        batch = {
            name: value.to(device) for name, value in data.__getitems__(records[first : first + batch_size]).items()
        }
        masks = {name: batch[name] for name in ("attention_mask", "lead_mask") if name in batch}
        outputs = encoder(batch["input_values"], **masks, return_dict=True)
        token_mask = encoder.token_mask(masks.get("attention_mask"))
        features.append(pool(outputs.last_hidden_state, token_mask, outputs.pooler_output).float().cpu())
    encoder.train(was_training)
    return torch.cat(features)


class ProbeCallback(TrainerCallback):
    """Fits a linear probe on a fixed subset before the first step, every N steps, and at the end.

    Each result goes to the log as `probe_macro_auroc` and to `probe.json`; the entry of step 0 is the random encoder,
    the figure every later one has to be compared with.

    Args:
        path: `probe.json` of the run.
        train: Records the probe is fitted on.
        test: Records it is judged on.
        label_set: Label set of the corpus.
        every_steps: Optimizer steps between two probes.
        max_records: Most records of each side, chosen once by a hash of their ids.
        pooling: Features, see `encode`.
        l2: Regularization.
        seed: Seed of the choice of records.
        speed: Its clock is stopped meanwhile.
        resumed: Keep the earlier entries of the file.
        log: Called with the result; the Trainer's `log`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        train: WindowDataset,
        test: WindowDataset,
        label_set: str,
        every_steps: int,
        max_records: int = 4000,
        pooling: str = "cls_mean",
        l2: float = 1e-2,
        seed: int = 0,
        speed: SpeedCallback | None = None,
        resumed: bool = False,
        log: Callable[[dict[str, float]], None] | None = None,
    ):
        self.path = Path(path)
        self.label_set = label_set
        self.every_steps = every_steps
        self.pooling = pooling
        self.l2 = l2
        self.speed = speed
        self.log = log
        self.parts = [self._part(data, max_records, seed) for data in (train, test)]
        self.entries: list[dict] = []
        if resumed and self.path.is_file():
            self.entries = json.loads(self.path.read_text(encoding="utf-8"))["probes"]

    def _part(self, data: WindowDataset, max_records: int, seed: int) -> tuple[WindowDataset, np.ndarray, np.ndarray]:
        labels = data.corpus.label_matrix(self.label_set)
        if labels.problem_type == "regression":
            raise CorpusError(
                f"{self.label_set!r} are numbers to predict; a probe needs a label set. Set probe_labels."
            )
        labeled = np.flatnonzero(labels.has_label)
        if not len(labeled):
            raise CorpusError(
                f"No record of {data.corpus!r} has a label of {self.label_set!r}. Choose other probe_labels."
            )
        order = np.argsort(integer_hash(seed, data.corpus.record_ids[labeled]), kind="stable")
        chosen = np.sort(labeled[order[:max_records]])
        return data, chosen, labels.values[chosen]

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        """Probe the encoder before the first step; forget entries beyond the checkpoint that is resumed."""
        self.entries = [entry for entry in self.entries if entry["step"] <= state.global_step]
        if state.global_step == 0:
            self._probe(args, state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        """Probe if it is time."""
        if state.global_step % self.every_steps == 0 and state.global_step < state.max_steps:
            self._probe(args, state, model)

    def on_train_end(self, args, state, control, model=None, **kwargs):
        """Probe the final encoder."""
        if not self.entries or self.entries[-1]["step"] != state.global_step:
            self._probe(args, state, model)

    def _probe(self, args, state, model) -> None:
        if state.is_world_process_zero:
            with torch.autocast(args.device.type, dtype=torch.bfloat16, enabled=args.bf16):
                features = [encode(model.encoder, data, chosen, pooling=self.pooling) for data, chosen, _ in self.parts]
            score = self._judge(*features)
            self.entries.append({"step": state.global_step, "epoch": state.epoch or 0.0, "macro_auroc": score})
            self._write()
            if self.log is not None:
                self.log({"probe_macro_auroc": score})
        if self.speed is not None:
            self.speed.pause()

    def _judge(self, train_features: torch.Tensor, test_features: torch.Tensor) -> float:
        """Macro AUROC over the test records of a linear probe on the training records."""
        from ...inference.encode import Embeddings
        from ...metrics.metrics import macro_auroc
        from .linear import fit_linear_probe

        train, test = (Embeddings(features, np.arange(len(features))) for features in (train_features, test_features))
        labels, test_labels = self.parts[0][2], self.parts[1][2]
        # Each label for itself, whatever the kind of task: the curve needs one comparable number, not the best head.
        probe = fit_linear_probe(
            train, labels, problem_type="multi_label_classification", num_labels=labels.shape[1], l2=self.l2
        )[0]
        return macro_auroc(test_labels, probe.scores(test))

    def _write(self) -> None:
        facts = {
            "labels": self.label_set,
            "pooling": self.pooling,
            "l2": self.l2,
            "train_records": len(self.parts[0][1]),
            "test_records": len(self.parts[1][1]),
        }
        write_text(self.path, json.dumps({**facts, "probes": self.entries}, indent=1))
