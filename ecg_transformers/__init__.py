"""Self-supervised ECG models as ordinary Transformers models.

Importing the package registers its architectures with Transformers' auto classes and its pipelines, as soon as
Transformers is imported too, places its loggers under Transformers' logger, and loads the extensions of installed
packages (`extensions.py`); everything else is imported on access.
"""

import logging
from importlib import import_module
from typing import Any

from .auto import ARCHITECTURES, call_after_import, register
from .extensions import load_entry_points

__version__ = "0.1.0"

_PUBLIC = {
    "Architecture": "auto",
    "EcgFeatureExtractor": "features.extractor",
    "EcgRecord": "signals.record",
    "list_models": "listing",
    "load_corpus": "corpora.prepared",
    "load_records": "corpora.sources.folder",
    "map_labels": "corpora.labels",
    "read_record": "signals.formats.readers",
    "register_architecture": "auto",
    "register_corpus": "corpora",
    "register_reader": "signals.formats.readers",
}
_CLASSES = {row.class_name(kind): (row, kind) for row in ARCHITECTURES.values() for kind in row.kinds}
_PARTS = ("pipelines", "viz", "publishing", "signals", "features", "corpora", "trainer", "evaluation", "exporting")

__all__ = ["__version__", *_PUBLIC, *_CLASSES]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _CLASSES:
        row, kind = _CLASSES[name]
        return row.find(kind)
    if name in _PARTS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


# Transformers' verbosity, handlers and propagation hold for every logger of the package, those of the standard library
# included: `set_verbosity_error()` silences them, `TRANSFORMERS_VERBOSITY=info` shows all of them.
logging.getLogger(__name__).parent = logging.getLogger("transformers")
register()
call_after_import("transformers.pipelines", lambda: import_module(f"{__name__}.pipelines").register())
load_entry_points()
