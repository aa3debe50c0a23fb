"""Attentive probe: one learned query over the tokens of a frozen encoder, then a linear layer.

Not comparable with a linear probe: it learns which tokens to weigh. The tokens are cached once in bfloat16; query,
value projection and linear layer are trained by AdamW with a cosine schedule, and the epoch is chosen on training
records that were held out by patient.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from transformers.utils import logging

from ...errors import EcgError
from ...inference.aggregation import Aggregate, aggregate_windows
from ...inference.encode import Embeddings, probabilities
from ...layers.token_reductions import AttentionPooling
from ...metrics.selection import selection_score
from ...objectives.class_weights import class_weights, weighted_losses, window_weights
from .linear import HeldOut

__all__ = ["AttentiveProbe", "AttentiveSettings", "fit_attentive_probe"]

logger = logging.get_logger(__name__)

_MIN_DEVIATION = 1e-6


@dataclass(frozen=True)
class AttentiveSettings:
    """How the probe is trained.

    Args:
        learning_rate: Peak rate of AdamW.
        weight_decay: Of the value projection and the linear layer; the query has none.
        batch_size: Windows per step.
        epochs: At most.
        patience: Epochs without a better score on the held-out records after which it ends.
        warmup_ratio: Share of the steps over which the rate rises.
    """

    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    batch_size: int = 256
    epochs: int = 15
    patience: int = 5
    warmup_ratio: float = 0.05


class AttentiveHead(nn.Module):
    """Attention over the tokens and a linear layer, under the names that they have in a classifier of the package."""

    def __init__(self, hidden_size: int, num_labels: int) -> None:
        super().__init__()
        self.attention = AttentionPooling(hidden_size)
        self.classifier = nn.Linear(hidden_size, num_labels)
        nn.init.xavier_uniform_(self.attention.value.weight)
        nn.init.zeros_(self.attention.value.bias)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Logits `(batch, labels)` of tokens `(batch, tokens, hidden)`."""
        return self.classifier(self.attention(tokens, token_mask))


@dataclass(frozen=True)
class AttentiveProbe:
    """A fitted head on the encoder's own tokens (standardization folded in).

    Args:
        head: Attention and linear layer.
        problem_type: Transformers' `problem_type`.
        history: Selection score of each epoch.
    """

    head: AttentiveHead
    problem_type: str
    history: list[float] = field(default_factory=list)

    @torch.inference_mode()
    def scores(self, embeddings: Embeddings, *, aggregate: Aggregate = "mean", batch_size: int = 1024) -> np.ndarray:
        """Probabilities (predictions for regression) of each record, `(records, labels)` float64."""
        logits = _logits(self.head, embeddings, batch_size)
        windows = probabilities(logits, self.problem_type).numpy()
        return aggregate_windows(windows, embeddings.record_index, aggregate=aggregate)


def fit_attentive_probe(
    embeddings: Embeddings,
    targets: np.ndarray,
    held_out: np.ndarray,
    *,
    problem_type: str,
    num_labels: int,
    settings: AttentiveSettings | None = None,
    balanced: bool = False,
    aggregate: Aggregate = "mean",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[AttentiveProbe, HeldOut]:
    """Train the probe on the records that are not held out and keep the epoch that is best on those that are.

    Args:
        embeddings: Tokens of the training records (`encode_corpus(..., tokens=True)`).
        targets: `(records, labels)` of 0 and 1 (floats for regression), or `(records,)` class numbers.
        held_out: bool `(records,)`.
        problem_type: Transformers' `problem_type`.
        num_labels: Outputs.
        settings: Rate, length, batch.
        balanced: Let rare and common classes count alike.
        aggregate: How the windows of a record are joined.
        seed: Of the start and of the order of the windows.
        device: Where to compute.

    Returns:
        The probe, and what the epoch was chosen by.

    Raises:
        EcgError: The embeddings hold no tokens.
    """
    settings = settings or AttentiveSettings()
    train, part = embeddings.select(~held_out), embeddings.select(held_out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = AttentiveHead(_tokens(train).shape[-1], num_labels).to(device)
    center, deviation = _statistics(train)
    run = _Run(head, train, targets[~held_out], problem_type, num_labels, settings, balanced, seed)
    history: list[float] = []
    best = 0
    for epoch in range(settings.epochs):
        run.epoch(epoch, center.to(device), deviation.to(device))
        probe = AttentiveProbe(_folded(head, center, deviation), problem_type, history)
        scores = probe.scores(part, aggregate=aggregate)
        history.append(selection_score(targets[held_out], scores, problem_type))
        # Held-out records that cannot judge (NaN) leave the choice to the schedule: the last epoch.
        if epoch == 0 or not history[epoch] <= history[best]:
            best, kept, kept_scores = epoch, probe, scores
        elif epoch - best >= settings.patience:
            break
    by_epoch = {float(number): score for number, score in enumerate(history, start=1)}
    return kept, HeldOut(float(best + 1), by_epoch, targets[held_out], kept_scores)


class _Run:
    """Optimizer, schedule and order of one training."""

    def __init__(
        self,
        head: AttentiveHead,
        train: Embeddings,
        targets: np.ndarray,
        problem_type: str,
        num_labels: int,
        settings: AttentiveSettings,
        balanced: bool,
        seed: int,
    ) -> None:
        self.head, self.train, self.settings, self.problem_type = head, train, settings, problem_type
        self.device = head.classifier.weight.device
        self.seed = seed
        single = problem_type == "single_label_classification"
        self.targets = torch.as_tensor(
            targets[train.record_index], dtype=torch.int64 if single else torch.float32, device=self.device
        )
        weights = window_weights(train.record_index)
        self.weights = (weights / weights.mean()).to(self.device)
        balance = class_weights(targets, problem_type, num_labels) if balanced else None
        self.balance = None if balance is None else balance.to(self.device)
        if problem_type != "regression":
            share = targets.mean(axis=0) if not single else np.bincount(targets, minlength=num_labels) / len(targets)
            prior = torch.as_tensor(share, dtype=torch.float32).clamp(1e-4, 1 - 1e-4)
            with torch.no_grad():
                head.classifier.bias.copy_(prior.log() if single else prior.logit())
        decayed = [head.attention.value.weight, head.classifier.weight]
        rest = [p for p in head.parameters() if all(p is not other for other in decayed)]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate)
        self.steps_per_epoch = math.ceil(len(train.record_index) / settings.batch_size)
        total, warmup = settings.epochs * self.steps_per_epoch, settings.warmup_ratio
        rise = max(1, round(warmup * total))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min(
                (step + 1) / rise, 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / (total - rise + 1)))
            ),
        )

    def epoch(self, number: int, center: torch.Tensor, deviation: torch.Tensor) -> None:
        """One pass over the windows in a new order."""
        self.head.train()
        generator = torch.Generator().manual_seed(self.seed * 100_003 + number)
        order = torch.randperm(len(self.train.record_index), generator=generator)
        for rows in order.split(self.settings.batch_size):
            tokens = (_tokens(self.train)[rows].to(self.device).float() - center) / deviation
            mask = None if self.train.token_mask is None else self.train.token_mask[rows].to(self.device)
            rows = rows.to(self.device)
            losses = weighted_losses(self.head(tokens, mask), self.targets[rows], self.problem_type, self.balance)
            loss = (losses * self.weights[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()


@torch.no_grad()
def _statistics(embeddings: Embeddings, block: int = 2048) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each feature over all present tokens, `(hidden,)` each."""
    all_tokens = _tokens(embeddings)
    hidden = all_tokens.shape[-1]
    count, total, squares = 0.0, torch.zeros(hidden, dtype=torch.float64), torch.zeros(hidden, dtype=torch.float64)
    for start in range(0, len(all_tokens), block):
        tokens = all_tokens[start : start + block].double()
        if embeddings.token_mask is not None:
            tokens = tokens[embeddings.token_mask[start : start + block]]
        tokens = tokens.reshape(-1, hidden)
        count, total, squares = count + len(tokens), total + tokens.sum(0), squares + tokens.square().sum(0)
    center = total / count
    deviation = (squares / count - center.square()).clamp(min=0).sqrt()
    deviation = torch.where(deviation > _MIN_DEVIATION, deviation, torch.ones_like(deviation))
    return center.float(), deviation.float()


@torch.no_grad()
def _folded(head: AttentiveHead, center: torch.Tensor, deviation: torch.Tensor) -> AttentiveHead:
    """The head that gives on raw tokens what `head` gives on standardized ones.

    Scores shift by the same amount for all tokens, which softmax does not see; the weighted mean of standardized tokens
    is the standardized weighted mean.
    """
    labels, hidden = head.classifier.weight.shape
    folded = AttentiveHead(hidden, labels)
    value = head.attention.value
    weight = value.weight.cpu() / deviation
    folded.attention.query.copy_(head.attention.query.cpu() / deviation)
    folded.attention.value.weight.copy_(weight)
    folded.attention.value.bias.copy_(value.bias.cpu() - weight @ center)
    folded.classifier.load_state_dict({name: tensor.cpu() for name, tensor in head.classifier.state_dict().items()})
    return folded.eval()


def _tokens(embeddings: Embeddings) -> torch.Tensor:
    if embeddings.tokens is None:
        raise EcgError("the embeddings hold no tokens; expected those of encode_corpus(..., tokens=True).")
    return embeddings.tokens


def _logits(head: AttentiveHead, embeddings: Embeddings, batch_size: int) -> torch.Tensor:
    parts, tokens = [], _tokens(embeddings)
    for start in range(0, len(tokens), batch_size):
        rows = slice(start, start + batch_size)
        mask = None if embeddings.token_mask is None else embeddings.token_mask[rows]
        parts.append(head(tokens[rows].float(), mask))
    return torch.cat(parts)
