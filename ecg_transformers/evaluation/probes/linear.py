"""Linear probe: logistic regression on cached embeddings of a frozen encoder.

`loss = mean over records of the loss summed over labels + l2 / 2 · ||W||²`, on standardized features, without a penalty
on the bias, minimized over the whole training set by L-BFGS. Standardization is folded into weight and bias at the end,
so that the result is one linear layer on the encoder's own output.

The regularization is chosen on a part of the *training* records, held out by patient (`evaluation.protocol`), and never
on the records that are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional

from ...errors import EcgError
from ...inference.aggregation import Aggregate, aggregate_windows
from ...inference.encode import Embeddings, probabilities
from ...metrics.metrics import one_hot
from ...metrics.selection import selection_score
from ...objectives.class_weights import class_weights, window_weights
from .lbfgs import minimize_many

__all__ = [
    "L2_GRID",
    "HeldOut",
    "LinearProbe",
    "fit_linear_probe",
    "select_linear_probe",
]

# From strong to weak: each fit starts from the one before.
L2_GRID = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)

# A feature that hardly varies over the training set carries nothing; dividing by its deviation would only raise noise.
_MIN_DEVIATION = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """A linear layer on the encoder's features.

    Args:
        weight: `(labels, features)` float32.
        bias: `(labels,)` float32.
        problem_type: Transformers' `problem_type`.
        l2: The regularization it was fitted with.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    problem_type: str
    l2: float

    def scores(self, embeddings: Embeddings, *, aggregate: Aggregate = "mean") -> np.ndarray:
        """Probabilities (predictions for regression) of each record, `(records, labels)` float64."""
        logits = functional.linear(embeddings.features, self.weight, self.bias)
        windows = probabilities(logits, self.problem_type).numpy()
        return aggregate_windows(windows, embeddings.record_index, aggregate=aggregate)


@dataclass(frozen=True)
class HeldOut:
    """What was chosen on the held-out part of the training records.

    Args:
        chosen: The value that was taken.
        scores: The selection score of every value tried.
        labels: Targets of the held-out records.
        probabilities: Their scores under the chosen value, by a probe that never saw them: for the thresholds.
        reported: Whether these records are the reported ones, because nothing was held out.
        unfinished: Steps done (`steps`) and planned (`max_steps`) of a training that its time limit ended.
    """

    chosen: float
    scores: dict[float, float]
    labels: np.ndarray
    probabilities: np.ndarray
    reported: bool = False
    unfinished: Mapping[str, int] = field(default_factory=dict)


def fit_linear_probe(
    embeddings: Embeddings,
    targets: np.ndarray,
    *,
    problem_type: str,
    num_labels: int,
    l2: float | Sequence[float],
    balanced: bool = False,
    device: torch.device | str = "cpu",
) -> list[LinearProbe]:
    """Fit the probe for one regularization or several, from strong to weak.

    Args:
        embeddings: Features of the training records.
        targets: `(records, labels)` of 0 and 1 (floats for regression), or `(records,)` class numbers.
        problem_type: Transformers' `problem_type`.
        num_labels: Outputs.
        l2: Regularization, in the order to be fitted; each fit starts at the one before.
        balanced: Let rare and common classes count alike.
        device: Where to compute.

    Returns:
        A probe per value.

    Raises:
        EcgError: Targets do not belong to these records.
    """
    if len(targets) != embeddings.num_records:
        raise EcgError(f"{len(targets)} targets for {embeddings.num_records} embedded records; expected one each.")
    single = problem_type == "single_label_classification"
    weights = window_weights(embeddings.record_index).to(device)
    features = embeddings.features.to(device)
    center = weights @ features
    deviation = (weights @ (features - center).square()).sqrt()
    deviation = torch.where(deviation > _MIN_DEVIATION, deviation, torch.ones_like(deviation))
    features = (features - center) / deviation
    # In the eigenbasis of the features the loss bends along the axes; the penalty does not see the rotation.
    spread, basis = torch.linalg.eigh((features * weights[:, None]).T @ features)
    per_record = one_hot(targets, num_labels) if single else targets
    wanted = torch.as_tensor(per_record[embeddings.record_index], dtype=torch.float32, device=device)
    curvature = _label_curvature(targets, problem_type, num_labels, balanced).to(device)
    objective = _Objective(
        features @ basis,
        wanted,
        problem_type,
        weights[:, None] * _balance(wanted, targets, problem_type) if balanced else weights[:, None],
        curvature[:, None] * torch.cat([spread.clamp(min=0), torch.ones_like(spread[:1])]),
    )
    weight = torch.zeros(num_labels, features.shape[1], device=device)
    bias = _prior_bias(targets, problem_type, num_labels, balanced).to(device)
    probes = []
    for value in [l2] if isinstance(l2, int | float) else l2:
        weight, bias = objective.minimize(weight, bias, float(value))
        folded = weight @ basis.T / deviation
        shift = bias - folded @ center
        probes.append(LinearProbe(folded.cpu(), shift.cpu(), problem_type, float(value)))
    return probes


def _prior_bias(targets: np.ndarray, problem_type: str, num_labels: int, balanced: bool) -> torch.Tensor:
    """The bias that fits best without any feature: where every fit starts."""
    if problem_type == "regression":
        return torch.from_numpy(targets.mean(axis=0)).float()
    if balanced:
        return torch.zeros(num_labels)
    if problem_type == "single_label_classification":
        counts = torch.from_numpy(np.bincount(targets, minlength=num_labels)).float()
        return (counts + 0.5).log() - (counts + 0.5).log().mean()
    share = torch.from_numpy((targets.sum(axis=0) + 0.5) / (len(targets) + 1)).float()
    return share.logit()


def _balance(wanted: torch.Tensor, targets: np.ndarray, problem_type: str) -> torch.Tensor:
    """The class weights of each window and label, `(windows, labels)` or `(windows, 1)`."""
    balance = class_weights(targets, problem_type, wanted.shape[1])
    if balance is None:
        return torch.ones_like(wanted[:, :1])
    balance = balance.to(wanted.device)
    if problem_type == "single_label_classification":
        return (wanted @ balance)[:, None]
    return torch.where(wanted > 0, balance[1], balance[0])


def _label_curvature(targets: np.ndarray, problem_type: str, num_labels: int, balanced: bool) -> torch.Tensor:
    """About how strongly the loss of each label bends: p (1 - p) at its share p."""
    if problem_type == "regression":
        return torch.ones(num_labels)
    share = _prior_bias(targets, problem_type, num_labels, balanced)
    share = share.softmax(dim=0) if problem_type == "single_label_classification" else share.sigmoid()
    return share * (1 - share)


@dataclass(frozen=True)
class _Objective:
    """The penalized loss as a function of weight `(labels, features)` and bias.

    Args:
        features: `(windows, features)`, decorrelated.
        targets: `(windows, labels)` float, one-hot for single-label.
        problem_type: Binary cross-entropy, cross-entropy, or half the squared error for regression.
        weights: `(windows, labels)` or `(windows, 1)`.
        curvature: `(labels, features + 1)`: about the second derivative of the loss by each weight and the bias. Each
            is counted in units of one over its root, which takes L-BFGS far fewer steps; the minimum is the same.
    """

    features: torch.Tensor
    targets: torch.Tensor
    problem_type: str
    weights: torch.Tensor
    curvature: torch.Tensor

    def minimize(self, weight: torch.Tensor, bias: torch.Tensor, l2: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias at the minimum, from the given start."""
        unit = torch.cat([(self.curvature[:, :-1] + l2).rsqrt(), self.curvature[:, -1:].rsqrt()], dim=1)
        start = torch.cat([weight, bias[:, None]], dim=1) / unit
        joint = self.problem_type == "single_label_classification"  # the classes are one problem, labels are many

        def function(point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            layer = point.view_as(unit) * unit
            losses, slopes = self._loss(functional.linear(self.features, layer[:, :-1], layer[:, -1]))
            values = losses + 0.5 * l2 * layer[:, :-1].square().sum(dim=1)
            gradient = torch.cat([slopes.T @ self.features + l2 * layer[:, :-1], slopes.sum(dim=0)[:, None]], dim=1)
            gradient = gradient * unit
            return (values.sum()[None], gradient.view(1, -1)) if joint else (values, gradient)

        found = minimize_many(function, start.view(1, -1) if joint else start).view_as(unit) * unit
        return found[:, :-1], found[:, -1]

    def _loss(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss of each label (for single-label: each class's share) and its slope per window and label."""
        if self.problem_type == "regression":
            difference = logits - self.targets
            return 0.5 * (self.weights * difference.square()).sum(dim=0), self.weights * difference
        if self.problem_type == "single_label_classification":
            log_shares = logits.log_softmax(dim=1)
            losses = -(self.weights * self.targets * log_shares).sum(dim=0)
            return losses, self.weights * (log_shares.exp() - self.targets)
        losses = functional.softplus(logits) - self.targets * logits
        return (self.weights * losses).sum(dim=0), self.weights * (logits.sigmoid() - self.targets)


def select_linear_probe(
    embeddings: Embeddings,
    targets: np.ndarray,
    held_out: Sequence[np.ndarray],
    *,
    problem_type: str,
    num_labels: int,
    l2: Sequence[float] = L2_GRID,
    balanced: bool = False,
    aggregate: Aggregate = "mean",
    refit: bool = True,
    device: torch.device | str = "cpu",
) -> tuple[LinearProbe, HeldOut]:
    """Choose the regularization on held-out training records, then fit on all of them.

    Args:
        embeddings: Features of the training records.
        targets: As in `fit_linear_probe`.
        held_out: One or more bool masks `(records,)`: for each, the probe is fitted on the rest and scored on these.
            With several the scores of all of them are judged together.
        problem_type: Transformers' `problem_type`.
        num_labels: Outputs.
        l2: Values to choose from.
        balanced: Let rare and common classes count alike.
        aggregate: How the windows of a record are joined.
        refit: Fit the final probe on all records; otherwise on those that are never held out.
        device: Where to compute.

    Returns:
        The final probe, and what it was chosen by.
    """
    grid = sorted(l2, reverse=True)
    labels: list[np.ndarray] = []
    scores: dict[float, list[np.ndarray]] = {value: [] for value in grid}
    for mask in held_out:
        rest = embeddings.select(~mask)
        probes = fit_linear_probe(
            rest, targets[~mask], problem_type=problem_type, num_labels=num_labels, l2=grid, balanced=balanced,
            device=device,
        )  # fmt: skip
        part = embeddings.select(mask)
        labels.append(targets[mask])
        for value, probe in zip(grid, probes, strict=True):
            scores[value].append(probe.scores(part, aggregate=aggregate))
    labels_all = np.concatenate(labels)
    joined = {value: np.concatenate(parts) for value, parts in scores.items()}
    judged = {value: selection_score(labels_all, one, problem_type) for value, one in joined.items()}
    # A tie, or no label on both sides, goes to the stronger regularization.
    best = max(grid, key=lambda value: (np.nan_to_num(judged[value], nan=-np.inf), value))
    path = [value for value in grid if value >= best]
    if not refit:
        rest = ~np.any(held_out, axis=0)
        embeddings, targets = embeddings.select(rest), targets[rest]
    final = fit_linear_probe(
        embeddings, targets, problem_type=problem_type, num_labels=num_labels, l2=path, balanced=balanced, device=device
    )[-1]
    return final, HeldOut(best, judged, labels_all, joined[best])
