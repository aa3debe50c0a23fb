"""Plots: ECG paper, beats, reconstructions, predictions, attention, occlusion, curves, benchmarks, noise, labels.

Every function takes data and returns a matplotlib `Figure`, without showing it, changing global state or needing a
display. matplotlib is imported on use.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "plot_attention": "attention",
    "plot_beats": "beats",
    "plot_benchmark": "benchmark",
    "plot_ecg": "paper",
    "plot_heat": "beats",
    "plot_history": "history",
    "plot_label_efficiency": "label_efficiency",
    "plot_nextclip": "nextclip",
    "plot_occlusion": "occlusion",
    "plot_noise_robustness": "robustness",
    "plot_reconstruction": "reconstruction",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    # A plot of a recording needs neither the results nor torch.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
