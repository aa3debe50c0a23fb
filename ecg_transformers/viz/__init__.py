"""Plots: ECG paper, reconstructions, predictions, attention, loss curves, benchmarks, noise robustness, labels.

Every function takes data and returns a matplotlib `Figure`, without showing it, changing global state or needing a
display. matplotlib is imported on use.
"""

from .attention import plot_attention
from .benchmark import plot_benchmark
from .history import plot_history
from .label_efficiency import plot_label_efficiency
from .nextclip import plot_nextclip
from .paper import plot_ecg
from .reconstruction import plot_reconstruction
from .robustness import plot_noise_robustness

__all__ = [
    "plot_attention",
    "plot_benchmark",
    "plot_ecg",
    "plot_history",
    "plot_label_efficiency",
    "plot_nextclip",
    "plot_noise_robustness",
    "plot_reconstruction",
]
