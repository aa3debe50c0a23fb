"""Pretraining with Transformers' Trainer: step-keyed draws, named loss terms, schedules, whole checkpoints."""

from .arguments import EcgTrainingArguments
from .callbacks import ClockCallback, LossCallback
from .data import EpochSampler, WindowDataset
from .schedules import PlateauAfterWarmup, Schedule, ScheduleCallback
from .trainer import EcgTrainer

__all__ = [
    "ClockCallback",
    "EcgTrainer",
    "EcgTrainingArguments",
    "EpochSampler",
    "LossCallback",
    "PlateauAfterWarmup",
    "Schedule",
    "ScheduleCallback",
    "WindowDataset",
]
