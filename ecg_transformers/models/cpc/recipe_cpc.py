"""How the network of CPC is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# Ours: the benchmark's 50 epochs of one cycle and batches of 128 (Strodthoff et al. 2021) at the rate at which
# ecg-selfsupervised trains the head of this network (AdamW, 1e-3, weight decay 1e-3 of everything).
SUPERVISED_RECIPE: dict[str, Any] = {
    "num_train_epochs": 50.0,
    "per_device_train_batch_size": 128,
    "learning_rate": 1e-3,
    "one_cycle": True,
    "adam_beta2": 0.999,
    "weight_decay": 1e-3,
    "decay_norms_and_biases": True,
    "no_decay": [],
    "max_grad_norm": 0.0,
    "max_shift_seconds": 0.0,
    "early_stopping_patience": None,
}
