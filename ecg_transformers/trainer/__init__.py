"""Training with Transformers' Trainer: `EcgTrainer`, and `PretrainingTrainer` and `FineTuneTrainer` on it.

Each name is imported on access, so that settings can be read without torch.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "ClockCallback": "callbacks",
    "EcgTrainer": "trainer",
    "EcgTrainingArguments": "arguments",
    "EpochSampler": "data",
    "FineTuneSettings": "settings",
    "FineTuneTrainer": "fine_tuning",
    "LossCallback": "callbacks",
    "PlateauAfterWarmup": "schedules",
    "PretrainingTrainer": "pretraining",
    "Schedule": "schedules",
    "ScheduleCallback": "schedules",
    "WindowDataset": "data",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
