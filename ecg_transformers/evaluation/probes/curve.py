"""Linear-probe curve over a pretraining run, which reveals a collapsing model early."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.utils import logging

from ...errors import CorpusError
from ...files import write_text
from ...hashing import integer_hash
from ...inference.encode import Embeddings, EncoderOutput, embed_windows, encode_corpus
from ...readout import Readout
from ...trainer.run_record import SpeedCallback

if TYPE_CHECKING:
    from ...corpora.prepared import Corpus
    from ...features.extractor import EcgFeatureExtractor
    from ...modeling import Encoder

__all__ = ["ProbeCallback"]

logger = logging.get_logger(__name__)

_DEFAULT_READOUT = Readout()


@dataclass
class _FrozenEncoder:
    """The encoder of a pretraining model as `inference.encode` embeds with it.

    Args:
        encoder: The encoder, in evaluation mode.
        extractor: Its feature extractor.
        readout: What is read of the encoder.
        name: Not used.
    """

    encoder: "Encoder"
    extractor: "EcgFeatureExtractor"
    readout: Readout
    name: str = "encoder"

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch; without tokens, which a linear probe does not take."""
        pooled = embed_windows(self.encoder, inputs, self.readout)
        return EncoderOutput(pooled, pooled[:, None, :0], None)


class ProbeCallback(TrainerCallback):
    """Fits a linear probe on a fixed subset before the first step, every N steps, and at the end.

    Records are encoded as in any evaluation: all their windows, whatever a training step takes of them, and the
    probe's probabilities are averaged over the windows. Results are logged as `probe_macro_auroc` and written to
    `probe.json`; the entry of step 0 is the random encoder, the reference of all later ones.

    Args:
        path: `probe.json` of the run.
        train: Training records of the probe.
        test: Evaluation records of the probe.
        extractor: Feature extractor of the model.
        label_set: Label set of the corpus.
        every_steps: Optimizer steps between two probes.
        max_records: Maximum number of records of each side, selected once by a hash of their ids. Default: 4000.
        l2: L2 regularization of the probe. Default: 1e-2.
        seed: Seed of the selection of records. Default: 0.
        speed: Speed measurement, paused during a probe.
        resumed: Keep the earlier entries of the file. Default: no.
        log: Called with the result: the Trainer's `log`.
        readout: What the probe is given of the encoder. Default: that of a head, see `Encoder.resolved`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        train: "Corpus",
        test: "Corpus",
        extractor: "EcgFeatureExtractor",
        label_set: str,
        every_steps: int,
        max_records: int = 4000,
        l2: float = 1e-2,
        seed: int = 0,
        speed: SpeedCallback | None = None,
        resumed: bool = False,
        log: Callable[[dict[str, float]], None] | None = None,
        readout: Readout = _DEFAULT_READOUT,
    ) -> None:
        self.path = Path(path)
        self.extractor = extractor
        self.label_set = label_set
        self.every_steps = every_steps
        self.readout = readout
        self.l2 = l2
        self.speed = speed
        self.log = log
        self.parts = [self._part(corpus, max_records, seed) for corpus in (train, test)]
        self.entries: list[dict] = []
        if resumed and self.path.is_file():
            self.entries = json.loads(self.path.read_text(encoding="utf-8"))["probes"]

    def _part(self, corpus: "Corpus", max_records: int, seed: int) -> tuple["Corpus", np.ndarray]:
        """The records of one side of the probe, and their labels."""
        labels = corpus.label_matrix(self.label_set)
        if labels.problem_type == "regression":
            raise CorpusError(
                f"{self.label_set!r} is a regression target; a probe needs a label set. Set probe_labels."
            )
        labeled = np.flatnonzero(labels.has_label)
        if not len(labeled):
            raise CorpusError(f"No record of {corpus!r} has a label of {self.label_set!r}. Choose other probe_labels.")
        order = np.argsort(integer_hash(seed, corpus.record_ids[labeled]), kind="stable")
        chosen = np.sort(labeled[order[:max_records]])
        return corpus.select(chosen), labels.values[chosen]

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Probe the encoder before the first step; forget entries beyond the checkpoint that is resumed."""
        self.entries = [entry for entry in self.entries if entry["step"] <= state.global_step]
        if state.global_step == 0:
            self._probe(args, state, model)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Probe every `every_steps` steps."""
        if state.global_step % self.every_steps == 0 and state.global_step < state.max_steps:
            self._probe(args, state, model)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Probe the final encoder."""
        if not self.entries or self.entries[-1]["step"] != state.global_step:
            self._probe(args, state, model)

    def _probe(self, args: Any, state: Any, model: Any) -> None:
        if state.is_world_process_zero:
            encoder = model.encoder
            self.readout = encoder.resolved(self.readout)
            was_training = encoder.training
            frozen = _FrozenEncoder(encoder.eval(), self.extractor, self.readout)
            embedded = [encode_corpus(frozen, part, bf16=args.bf16, device=args.device) for part, _ in self.parts]
            encoder.train(was_training)
            score = self._judge(*embedded)
            self.entries.append({"step": state.global_step, "epoch": state.epoch or 0.0, "macro_auroc": score})
            self._write()
            if self.log is not None:
                self.log({"probe_macro_auroc": score})
        if self.speed is not None:
            self.speed.pause()

    def _judge(self, train: Embeddings, test: Embeddings) -> float:
        """Macro AUROC over the test records of a linear probe on the training records."""
        from ...metrics.metrics import macro_auroc
        from .linear import fit_linear_probe

        labels, test_labels = self.parts[0][1], self.parts[1][1]
        # Independent labels whatever the task: the curve needs one comparable number, not the best head.
        probe = fit_linear_probe(
            train, labels, problem_type="multi_label_classification", num_labels=labels.shape[1], l2=self.l2
        )[0]
        return macro_auroc(test_labels, probe.scores(test))

    def _write(self) -> None:
        facts = {
            "labels": self.label_set,
            **asdict(self.readout),
            "l2": self.l2,
            "train_records": len(self.parts[0][0]),
            "test_records": len(self.parts[1][0]),
        }
        write_text(self.path, json.dumps({**facts, "probes": self.entries}, indent=1))
