"""Balanced assignment to prototypes and the swapped prediction of SwAV (Caron et al. 2020)."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from .gather import world_size
from .precision import at_least_float32, similarities

__all__ = [
    "EmbeddingQueue",
    "assignment_codes",
    "assignment_loss",
    "code_entropy",
    "normalize_prototypes",
    "sinkhorn",
]


class EmbeddingQueue(nn.Module):
    """The latest embeddings of the assigning crops, with which codes are balanced; the newest first.

    Buffers (persistent, so that a resumed run has the same codes):
        embeddings: `(length, crops, size)`, zeros at the start.
        filled: int64 `(1,)`, number of rows written so far, at most `length`.

    Args:
        length: Number of rows; need not be a multiple of the batch.
        crops: Assigning crops, each with its own column.
        size: Width of an embedding.
    """

    embeddings: torch.Tensor
    filled: torch.Tensor

    def __init__(self, length: int, crops: int, size: int):
        super().__init__()
        self.register_buffer("embeddings", torch.zeros(length, crops, size))
        self.register_buffer("filled", torch.zeros(1, dtype=torch.long))

    def reset_state(self) -> None:
        """Set the initial values of buffers that were not loaded from a checkpoint (called by `_init_weights`)."""
        init.zeros_(self.embeddings)
        init.zeros_(self.filled)

    def share_of_process(self) -> torch.Tensor | None:
        """The rows that this process balances with, `(rows, crops, size)`; `None` until the queue is full."""
        if self.filled < len(self.embeddings):
            return None
        return self.embeddings[dist.get_rank() :: world_size()] if world_size() > 1 else self.embeddings

    @torch.no_grad()
    def push(self, embeddings: torch.Tensor) -> None:
        """Put new rows in front; the oldest go.

        Args:
            embeddings: `(records, crops, size)`, of all processes in rank order; any number.
        """
        length = len(self.embeddings)
        self.embeddings.copy_(torch.cat([embeddings.to(self.embeddings.dtype), self.embeddings])[:length])
        self.filled.copy_((self.filled + len(embeddings)).clamp_max(length))


@torch.no_grad()
def sinkhorn(scores: torch.Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> torch.Tensor:
    """Codes that use all prototypes alike: rows and columns of `exp(scores / epsilon)` scaled in turn.

    Computed in float32 at least, with two vectors of factors instead of scaled matrices. The largest score of each
    prototype is subtracted first, which the first scaling would undo: nothing overflows, and no row is empty. With
    several processes the records are those of all of them.

    Args:
        scores: `(..., records, prototypes)`, for example one matrix for each assigning crop.
        epsilon: Smoothness of the codes.
        iterations: At least 1.

    Returns:
        Codes of the same shape; those of a record sum to 1.
    """
    if iterations < 1:
        raise ValueError(f"sinkhorn got iterations={iterations}; expected at least 1.")
    (scores,) = at_least_float32(scores)
    largest = _over_processes(scores.amax(dim=-2, keepdim=True), dist.ReduceOp.MAX)
    kernel = (scores - largest).div_(epsilon).exp_()
    of_record = torch.ones_like(kernel[..., :1])
    for _ in range(iterations):
        of_prototype = 1 / _over_processes(
            similarities(of_record.mT, kernel), dist.ReduceOp.SUM
        )  # (..., 1, prototypes)
        of_record = 1 / similarities(kernel, of_prototype.mT)  # (..., records, 1)
    return kernel.mul_(of_prototype).mul_(of_record)


def assignment_codes(
    scores: torch.Tensor,
    queue: torch.Tensor | None = None,
    prototypes: torch.Tensor | None = None,
    *,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> torch.Tensor:
    """Codes of a batch, balanced together with a queue of earlier embeddings if there is one.

    Args:
        scores: Of the assigning crops `(records, crops, prototypes)`.
        queue: This process's share of the queue, unit vectors `(length, crops, size)`; each crop has its own.
        prototypes: Unit vectors `(prototypes, size)`, needed with a queue.
        epsilon: Smoothness of the codes.
        iterations: Of Sinkhorn.

    Returns:
        `(records, crops, prototypes)`, without gradient.
    """
    # Crop by crop: every product of the iteration then runs over rows that lie side by side.
    (scores,) = at_least_float32(scores.detach().transpose(0, 1))
    if queue is not None and prototypes is not None:
        scores = torch.cat([similarities(queue.transpose(0, 1), prototypes.detach().T).to(scores.dtype), scores], dim=1)
    codes = sinkhorn(scores.contiguous(), epsilon=epsilon, iterations=iterations).transpose(0, 1)
    return codes if queue is None else codes[len(queue) :]


def assignment_loss(
    scores: torch.Tensor, codes: torch.Tensor, temperature: float, *, count_own: bool = False
) -> torch.Tensor:
    """Swapped prediction: the code of each assigning crop as target of every other crop's scores.

    `loss = mean over assigning crops a and crops v != a of -mean_b sum_k q_a log softmax(o_v / temperature)`

    Args:
        scores: `(records, crops, prototypes)`, the assigning crops first.
        codes: Of the assigning crops `(records, assigning crops, prototypes)`.
        temperature: Positive divisor of the scores.
        count_own: Divide by the number of all crops instead of the others, as the published code does (quirk Q7).
    """
    records, assigning, _ = codes.shape
    crops = scores.shape[1]
    (scores,) = at_least_float32(scores)
    log_probability = functional.log_softmax(scores / temperature, dim=-1)
    entropy = -similarities(codes.transpose(0, 1).flatten(1), log_probability.transpose(0, 1).flatten(1).T) / records
    own = torch.eye(assigning, crops, dtype=torch.bool, device=scores.device)
    return entropy.masked_fill(own, 0).sum() / (assigning * (crops if count_own else crops - 1))


def code_entropy(codes: torch.Tensor) -> torch.Tensor:
    """Mean entropy of the codes in nats: 0 for one prototype each, the logarithm of their number for all alike.

    Args:
        codes: `(..., prototypes)`, each row sums to 1.
    """
    return torch.special.entr(codes).sum(dim=-1).mean()


@torch.no_grad()
def normalize_prototypes(weight: torch.Tensor) -> None:
    """Make the rows of `weight (prototypes, size)` unit vectors, in place."""
    weight.copy_(functional.normalize(weight, dim=1))


def _over_processes(tensor: torch.Tensor, operation: dist.ReduceOp.RedOpType) -> torch.Tensor:
    if world_size() > 1:
        dist.all_reduce(tensor, operation)
    return tensor
