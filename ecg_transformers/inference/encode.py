"""Windows of a corpus through an encoder or a classifier, prepared by the checkpoint's own feature extractor.

Whatever has `name`, `extractor` and `embed` can be probed (`Embedder`): `CheckpointEncoder` is that for the checkpoints
of the package, and an encoder from elsewhere takes part as an object with these three attributes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from transformers.utils import logging

from ..errors import CorpusError
from .aggregation import Aggregate, aggregate_windows
from .noise import WindowNoise, window_numbers
from .outputs import embed_windows, probabilities

if TYPE_CHECKING:
    from ..corpora.prepared import Corpus
    from ..features.extractor import EcgFeatureExtractor
    from ..modeling import EcgForSequenceClassification

__all__ = [
    "CheckpointEncoder",
    "Embedder",
    "Embeddings",
    "EncoderOutput",
    "embed_windows",
    "encode_corpus",
    "iterate_windows",
    "predict_records",
    "probabilities",
]

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class EncoderOutput:
    """Output of an embedder for a batch of windows.

    Args:
        pooled: `(batch, pooled)`: the vector of each window that is probed.
        tokens: `(batch, tokens, hidden)`; of the last layer where several are read.
        token_mask: Bool `(batch, tokens)`, true = carries signal; `None` if all do.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    token_mask: torch.Tensor | None


@runtime_checkable
class Embedder(Protocol):
    """What can be probed: a name, a feature extractor, and an embedding of what it prepares."""

    name: str
    extractor: "EcgFeatureExtractor"

    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch without gradient.

        Args:
            inputs: Output of the extractor, on the device of the embedder.
        """


class CheckpointEncoder:
    """The frozen encoder of a classifier: no gradient, evaluation mode.

    What is read of it is what the classifier's head is given, so that a probe and the saved classifier agree.

    Args:
        model: The classifier; its head is not used.
        extractor: The checkpoint's feature extractor.
        name: Name in tables.
    """

    def __init__(self, model: "EcgForSequenceClassification", extractor: "EcgFeatureExtractor", name: str) -> None:
        self.model = model
        self.extractor = extractor
        self.name = name

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @torch.inference_mode()
    def embed(self, inputs: Mapping[str, torch.Tensor]) -> EncoderOutput:
        """Embed a batch; see `EcgForSequenceClassification.read`.

        Args:
            inputs: Output of the extractor, on the device of the model.
        """
        tokens, token_mask, pooled = self.model.eval().read(**inputs)
        return EncoderOutput(pooled, tokens, token_mask)


@dataclass
class Embeddings:
    """Embedding of a corpus, to which a probe is fitted.

    Args:
        features: `(windows, pooled)` float32.
        record_index: int64 `(windows,)`: position of the record in the corpus.
        tokens: `(windows, tokens, hidden)` bfloat16, if requested.
        token_mask: `(windows, tokens)` bool, if any token is padding.
    """

    features: torch.Tensor
    record_index: np.ndarray
    tokens: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None

    @property
    def num_records(self) -> int:
        """Number of embedded records."""
        return int(self.record_index[-1]) + 1

    def select(self, records: np.ndarray) -> "Embeddings":
        """Select the windows of some records, which are renumbered in ascending order.

        Args:
            records: Bool `(records,)`.
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
    """Iterate over the windows of all records in order, in batches of the extractor's output.

    Args:
        corpus: The records.
        extractor: The checkpoint's feature extractor, which also cuts long records.
        batch_size: Maximum number of windows per batch. Default: 256.
        noise_level: 0 for the recordings without added noise (default), 1 to 6 for noise robustness.
        seed: Seed of the noise. Default: 0.

    Yields:
        The model's inputs (a mask without zeros is left out), and the record of each window, int64 `(windows,)`.

    Raises:
        SignalError: The level is unknown, or the contract does not support added noise.
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
            # No signal, no statement: a window whose leads are all constant does not count in its record.
            signal = batch["lead_mask"].any(dim=1)
            if not bool(signal.any()):
                continue
            numbers_of_rows = record_index[rows]
            if not bool(signal.all()):
                batch, numbers_of_rows = {n: v[signal] for n, v in batch.items()}, numbers_of_rows[signal.numpy()]
            # Attention is faster without a mask; one without zeros has no effect.
            yield {n: v for n, v in batch.items() if not n.endswith("_mask") or not v.all()}, numbers_of_rows


def _groups(corpus: "Corpus", seconds: float) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Records in groups of about the given length, to bound memory for long recordings."""
    first, held = 0, 0.0
    items: list[dict[str, Any]] = []
    for position in range(len(corpus)):
        signal, rate = corpus.signals([position])[0], float(corpus.sampling_rates[position])
        # The corpus is the source: what its build noted is not noted again.
        facts = {"name": corpus.names[position], "source": corpus.name, "leads": list(corpus.leads[position])}
        items.append({"signal": signal, "sampling_rate": rate, **facts})
        held += signal.shape[1] / rate
        if held >= seconds or position == len(corpus) - 1:
            yield first, items
            first, held, items = position + 1, 0.0, []


@torch.inference_mode()
def encode_corpus(
    encoder: Embedder,
    corpus: "Corpus",
    *,
    tokens: bool = False,
    batch_size: int = 256,
    bf16: bool = False,
    device: torch.device | str = "cpu",
) -> Embeddings:
    """Embed every window of a corpus.

    Args:
        encoder: The embedder.
        corpus: Records that its extractor accepts.
        tokens: Keep the tokens (bfloat16) for an attentive probe. Default: no.
        batch_size: Inference batch size in windows. Default: 256.
        bf16: bfloat16 autocast: twice as fast if the processor supports it. Default: no.
        device: Device of the encoder. Default: CPU.

    Returns:
        Features, and the record of each window.

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
    """Compute the classifier's scores of each record: probabilities, or predicted values for regression.

    Args:
        model: The classifier; it is set to evaluation mode.
        corpus: Records that the extractor accepts.
        extractor: The checkpoint's feature extractor.
        aggregate: Aggregation over the windows of a record. Default: mean.
        batch_size: Inference batch size in windows. Default: 256.
        bf16: bfloat16 autocast. Default: no.
        noise_level: As in `iterate_windows`. Default: 0.
        seed: Seed of the noise. Default: 0.

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
    return aggregate_windows(
        torch.cat(scores).numpy(), np.concatenate(records), aggregate=aggregate, max_columns=model.config.max_columns
    )


def _autocast(enabled: bool, device: torch.device | str) -> AbstractContextManager:
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16) if enabled else nullcontext()
