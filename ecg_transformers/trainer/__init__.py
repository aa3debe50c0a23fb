"""Training with Transformers' Trainer: `EcgTrainer`, and `PretrainingTrainer` and `FineTuneTrainer` on it."""

from .arguments import EcgTrainingArguments
from .callbacks import ClockCallback, LossCallback
from .data import EpochSampler, WindowDataset
from .fine_tuning import FineTuneSettings, FineTuneTrainer
from .pretraining import PretrainingTrainer
from .schedules import PlateauAfterWarmup, Schedule, ScheduleCallback
from .trainer import EcgTrainer

__all__ = [
    "ClockCallback",
    "EcgTrainer",
    "EcgTrainingArguments",
    "EpochSampler",
    "FineTuneSettings",
    "FineTuneTrainer",
    "LossCallback",
    "PlateauAfterWarmup",
    "PretrainingTrainer",
    "Schedule",
    "ScheduleCallback",
    "WindowDataset",
]
