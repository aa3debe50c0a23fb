"""A corpus through an encoder: every window of every record, prepared by the encoder's own feature extractor.

Whatever has `name`, `extractor` and `embed` can be probed; `CheckpointEncoder` is that for the package's checkpoints,
and a foreign encoder joins by an object with the same three (`Encoder`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from transformers.utils import logging

from ..errors import CorpusError
from .aggregation import Aggregate, aggregate_windows
from .noise import WindowNoise, window_numbers

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = [
    "CheckpointEncoder",
    "Embeddings",
    "Encoder",
    "EncoderOutput",
    "encode_corpus",
    "iterate_windows",
    "predict_records",
    "probabilities",
]

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class EncoderOutput:
    """What an encoder gives for a batch of windows.

    Args:
        pooled: `(batch, pooled)`: one vector per window under the pooling that is probed.
        tokens: `(batch, tokens, hidden)`.
        token_mask: `(batch, tokens)` bool, true = carries signal; `None` = all do.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    token_mask: torch.Tensor | None


@runtime_checkable
class Encoder(Protocol):
    """What a probe needs to know of an encoder: a name, its preprocessing, and how to embed what that gives."""

    name: str
    extractor: "EcgFeatureExtractor"

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch of the extractor's output, already on the encoder's device, without gradient."""


class CheckpointEncoder:
    """The encoder inside a classifier of the package, frozen: no gradient, evaluation mode, BatchNorm statistics fixed.

    Pooling and layer are those of the classifier's config, so that a probe and the checkpoint that it is saved as
    compute the same.

    Args:
        model: The classifier; its head is not used.
        extractor: The checkpoint's feature extractor.
        name: What tables call it.
    """

    def __init__(self, model: "EcgForSequenceClassification", extractor: "EcgFeatureExtractor", name: str) -> None:
        self.model = model
        self.extractor = extractor
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @torch.inference_mode()
    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch: tokens of the chosen layer and the pooled vector (zero-size for the attention pooling)."""
        model = self.model.eval()
        outputs = model.base_model(**inputs, output_hidden_states=model.config.layer != -1, return_dict=True)
        tokens, token_mask, pooled = model.pooling_input(outputs, inputs.get("attention_mask"))
        if model.config.pooling == "attention":
            vector = tokens[:, 0, :0]
        else:
            vector = model.pooling(tokens, token_mask, pooled)
        return EncoderOutput(vector, tokens, token_mask)


@dataclass
class Embeddings:
    """A corpus embedded once: what a probe is fitted on.

    Args:
        features: `(windows, pooled)` float32.
        record_index: `(windows,)` int64: position of the record in the corpus.
        tokens: `(windows, tokens, hidden)` bfloat16, if asked for.
        token_mask: `(windows, tokens)` bool, if any token is padding.
    """

    features: torch.Tensor
    record_index: np.ndarray
    tokens: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None

    @property
    def num_records(self) -> int:
        """Records that were embedded."""
        return int(self.record_index[-1]) + 1

    def select(self, records: np.ndarray) -> "Embeddings":
        """The windows of some records, numbered anew in ascending order.

        Args:
            records: bool `(records,)`.
        """
        windows = np.flatnonzero(records[self.record_index])
        number = np.cumsum(records) - 1
        rows = torch.from_numpy(windows)
        return Embeddings(
            self.features[rows],
            number[self.record_index[windows]],
            None if self.tokens is None else self.tokens[rows],
            None if self.token_mask is None else self.token_mask[rows],
        )


def iterate_windows(
    corpus: "Corpus",
    extractor: "EcgFeatureExtractor",
    *,
    batch_size: int = 256,
    noise_level: int = 0,
    seed: int = 0,
) -> Iterator[tuple[dict[str, torch.Tensor], np.ndarray]]:
    """All windows of all records in order, in batches of the extractor's output.

    Args:
        corpus: The records.
        extractor: Prepares them; cuts long records as it was saved to do.
        batch_size: Windows per batch at most.
        noise_level: 0 = the recordings as they are; 1 to 6: with noise (`noise_robustness`).
        seed: Of the noise.

    Yields:
        The model's inputs (a mask without any zero is left out), and the record of each window, int64.

    Raises:
        SignalError: There is no such level, or the contract leaves no place for noise.
    """
    noise = WindowNoise(extractor, corpus, level=noise_level, seed=seed) if noise_level else None
    prepare = extractor if noise is None else noise.extractor
    done_before = corpus.info.get("preprocessed_by")
    for first, items in _groups(corpus, batch_size * extractor.window_stride / extractor.sampling_rate):
        inputs = dict(prepare(items, return_tensors="pt", return_patches=False, preprocessed_by=done_before))
        record_index = inputs.pop("record_index").numpy() + first
        numbers = window_numbers(record_index)
        for start in range(0, len(record_index), batch_size):
            rows = slice(start, start + batch_size)
            batch = {name: value[rows] for name, value in inputs.items()}
            if noise is not None:
                batch = noise.add(batch, record_index[rows], numbers[rows])
            # All-one masks say nothing, and without them attention takes its faster form.
            yield {n: v for n, v in batch.items() if not n.endswith("_mask") or not v.all()}, record_index[rows]


def _groups(corpus: "Corpus", seconds: float) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Records as the extractor takes them, about so many seconds at a time: bounded memory for long recordings."""
    first, held = 0, 0.0
    items: list[dict[str, Any]] = []
    for position in range(len(corpus)):
        signal, rate = corpus.signals([position])[0], float(corpus.sampling_rates[position])
        items.append({"signal": signal, "sampling_rate": rate, "leads": list(corpus.leads[position])})
        held += signal.shape[1] / rate
        if held >= seconds or position == len(corpus) - 1:
            yield first, items
            first, held, items = position + 1, 0.0, []


@torch.inference_mode()
def encode_corpus(
    encoder: Encoder,
    corpus: "Corpus",
    *,
    tokens: bool = False,
    batch_size: int = 256,
    bf16: bool = False,
    device: torch.device | str = "cpu",
) -> Embeddings:
    """Embed every window of a corpus once.

    Args:
        encoder: The encoder.
        corpus: Records that its extractor takes.
        tokens: Keep the tokens (bfloat16) for an attentive probe.
        batch_size: Windows per pass.
        bf16: Encode under bfloat16 autocast: twice as fast where the processor has it.
        device: Where the encoder is.

    Returns:
        Features, and which record each window is of.

    Raises:
        CorpusError: The corpus is empty.
    """
    features, records, kept, masks = [], [], [], []
    for inputs, record_index in iterate_windows(corpus, encoder.extractor, batch_size=batch_size):
        with _autocast(bf16, device):
            output = encoder.embed({name: value.to(device) for name, value in inputs.items()})
        features.append(output.pooled.float().cpu())
        records.append(record_index)
        if tokens:
            kept.append(output.tokens.to(torch.bfloat16).cpu())
            masks.append(None if output.token_mask is None else output.token_mask.bool().cpu())
    if not records:
        raise CorpusError(f"{corpus!r} has no records to embed; expected at least one.")
    return Embeddings(
        torch.cat(features),
        np.concatenate(records),
        torch.cat(kept) if tokens else None,
        _joined_masks(masks, kept) if tokens else None,
    )


def _joined_masks(masks: Sequence[torch.Tensor | None], tokens: Sequence[torch.Tensor]) -> torch.Tensor | None:
    if all(mask is None for mask in masks):
        return None
    pairs = zip(masks, tokens, strict=True)
    return torch.cat([torch.ones(t.shape[:2], dtype=torch.bool) if m is None else m for m, t in pairs])


@torch.inference_mode()
def predict_records(
    model: "EcgForSequenceClassification",
    corpus: "Corpus",
    extractor: "EcgFeatureExtractor",
    *,
    aggregate: Aggregate = "mean",
    batch_size: int = 256,
    bf16: bool = False,
    noise_level: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """The classifier's scores of each record: probabilities (the prediction itself for regression).

    Args:
        model: The classifier; put into evaluation mode.
        corpus: Records that the extractor takes.
        extractor: The checkpoint's feature extractor.
        aggregate: How the windows of a record are joined.
        batch_size: Windows per pass.
        bf16: Compute under bfloat16 autocast.
        noise_level: 0 = the recordings as they are; 1 to 6: with noise, as in `iterate_windows`.
        seed: Of the noise.

    Returns:
        `(records, labels)` float64.
    """
    model.eval()
    scores, records = [], []
    windows = iterate_windows(corpus, extractor, batch_size=batch_size, noise_level=noise_level, seed=seed)
    for inputs, record_index in windows:
        with _autocast(bf16, model.device):
            logits = model(**{name: value.to(model.device) for name, value in inputs.items()}).logits
        scores.append(probabilities(logits.float(), model.config.problem_type).cpu())
        records.append(record_index)
    return aggregate_windows(torch.cat(scores).numpy(), np.concatenate(records), aggregate=aggregate)


def probabilities(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Logits as probabilities: sigmoid (multi-label), softmax (single-label), unchanged (regression)."""
    if problem_type == "regression":
        return logits
    return logits.softmax(dim=-1) if problem_type == "single_label_classification" else logits.sigmoid()


def _autocast(enabled: bool, device: torch.device | str):
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16) if enabled else nullcontext()
