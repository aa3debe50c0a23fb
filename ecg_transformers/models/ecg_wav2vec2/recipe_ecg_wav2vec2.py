"""How a wav2vec 2.0 encoder is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# Ours. The publications fine-tune random weights like pretrained ones (Oh et al. 2022); a transformer without
# pretraining needs several times the epochs and a larger rate, here those of a small vision transformer (DeiT, Touvron
# et al. 2021).
SUPERVISED_RECIPE: dict[str, Any] = {
    "num_train_epochs": 50.0,
    "per_device_train_batch_size": 64,
    "learning_rate": 5e-4,
    "one_cycle": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "warmup_epochs": None,
    "adam_beta2": 0.98,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "max_shift_seconds": 0.12,
    "early_stopping_patience": 10,
}
