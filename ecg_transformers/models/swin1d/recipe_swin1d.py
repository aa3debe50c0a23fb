"""How a shifted-window transformer is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# Optimizer, decay and clipping of Swin-T (Liu et al. 2021, arXiv 2103.14030, and its public code: AdamW, cosine, weight
# decay .05, norm of the gradient at most 5); rate, batch and epochs as for the plain vision transformer (`ecg_vit`).
SUPERVISED_RECIPE: dict[str, Any] = {
    "num_train_epochs": 50.0,
    "per_device_train_batch_size": 64,
    "learning_rate": 5e-4,
    "one_cycle": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "warmup_epochs": None,
    "adam_beta2": 0.999,
    "weight_decay": 0.05,
    "max_grad_norm": 5.0,
    "max_shift_seconds": 0.12,
    "early_stopping_patience": 10,
}
