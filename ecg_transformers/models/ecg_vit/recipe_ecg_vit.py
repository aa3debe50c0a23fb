"""How a vision transformer is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# The publications train no encoder from random weights on labels alone. This is the usual recipe of a small vision
# transformer (DeiT, Touvron et al. 2021, arXiv 2012.12877: AdamW, 5e-4, cosine, warm-up, weight decay .05), with 50
# epochs: a transformer without pretraining needs several times the epochs of a fine-tuning.
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
    "max_grad_norm": 1.0,
    "max_shift_seconds": 0.12,
    "early_stopping_patience": 10,
}
