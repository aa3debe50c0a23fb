"""Pictures: ECG paper, reconstructions, attention, loss curves, figures compared, under noise and with few labels.

Every function takes data and returns a matplotlib `Figure`; nothing is shown, no global state is touched, no display is
needed. matplotlib is imported when a picture is drawn.
"""

from .attention import plot_attention
from .benchmark import plot_benchmark
from .history import plot_history
from .label_efficiency import plot_label_efficiency
from .paper import plot_ecg
from .reconstruction import plot_reconstruction
from .robustness import plot_noise_robustness

__all__ = [
    "plot_attention",
    "plot_benchmark",
    "plot_ecg",
    "plot_history",
    "plot_label_efficiency",
    "plot_noise_robustness",
    "plot_reconstruction",
]
