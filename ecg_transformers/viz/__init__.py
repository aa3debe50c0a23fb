"""Pictures: ECG paper, reconstructions, attention, loss curves.

Every function takes data and returns a matplotlib `Figure`; nothing is shown, no global state is touched, no display is
needed. matplotlib is imported when a picture is drawn.
"""

from .attention import plot_attention
from .history import plot_history
from .paper import plot_ecg
from .reconstruction import plot_reconstruction

__all__ = ["plot_attention", "plot_ecg", "plot_history", "plot_reconstruction"]
