"""How an xresnet1d is trained on labels from random weights."""

from typing import Any

__all__ = ["SUPERVISED_RECIPE"]

# The PTB-XL benchmark (Strodthoff et al. 2021, IEEE JBHI 25, 1519-1528; helme/ecg_ptbxl_benchmarking): 50 epochs of one
# cycle at 1e-2, batches of 128, AdamW with weight decay of everything, no clipping, random crops alone as augmentation.
# The cycle is not cut short: its last third is where the network gets good.
SUPERVISED_RECIPE: dict[str, Any] = {
    "num_train_epochs": 50.0,
    "per_device_train_batch_size": 128,
    "learning_rate": 1e-2,
    "one_cycle": True,
    "adam_beta2": 0.99,
    "weight_decay": 1e-2,
    "decay_norms_and_biases": True,
    "no_decay": [],
    "max_grad_norm": 0.0,
    "max_shift_seconds": 0.0,
    "early_stopping_patience": None,
}
