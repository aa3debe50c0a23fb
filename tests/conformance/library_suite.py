"""Transformers' own common tests as importable modules, taken from the cache that `fetch_sources.py` fills.

Nothing of them lies in this repository. They are imported as a private package; what they import relatively and the
source distribution lacks is supplied by empty stand-ins.
"""

import importlib
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import transformers

from .fetch_sources import cached_sources, required

PACKAGE = "_transformers_common_tests"

# Any values that differ from the defaults: the configuration test checks that they arrive.
COMMON_CONFIG_FIELDS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "chunk_size_feed_forward": 5,
    "architectures": ["X"],
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "problem_type": "regression",
}


@dataclass(frozen=True)
class LibrarySuite:
    """The three modules with the mixins."""

    modeling: ModuleType
    configuration: ModuleType
    feature_extraction: ModuleType


def load_library_suite() -> LibrarySuite:
    """Import the suite, or skip the calling test module with a loud line if it was never fetched.

    With `ECG_REQUIRE_CONFORMANCE=1` a missing suite is a failure.
    """
    sources = cached_sources()
    if sources is None:
        message = (
            f"CONFORMANCE NOT TESTED: the common tests of transformers {transformers.__version__} are not in .cache. "
            "Run `python tests/conformance/fetch_sources.py` with network access."
        )
        if required():
            pytest.fail(message, pytrace=False)
        warnings.warn(message, stacklevel=2)
        pytest.skip(message, allow_module_level=True)
    _add_stand_ins(sources)
    # On import the suite would load the package anew from the repository it normally lies in, and it uses marks that
    # are registered there.
    with (
        mock.patch("transformers.utils.direct_transformers_import", return_value=transformers),
        warnings.catch_warnings(action="ignore", category=pytest.PytestUnknownMarkWarning),
    ):
        return LibrarySuite(
            *(
                importlib.import_module(f"{PACKAGE}.test_{name}_common")
                for name in ("modeling", "configuration", "feature_extraction")
            )
        )


def _add_stand_ins(sources: Path) -> None:
    if PACKAGE in sys.modules:
        return
    package = ModuleType(PACKAGE)
    package.__path__ = [str(sources)]
    sys.modules[PACKAGE] = package
    for name, contents in {
        "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
        "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
        "utils.test_configuration_utils": {"config_common_kwargs": COMMON_CONFIG_FIELDS},
    }.items():
        parent = ModuleType(f"{PACKAGE}.{name.split('.')[0]}")
        parent.__path__ = []
        module = ModuleType(f"{PACKAGE}.{name}")
        vars(module).update(contents)
        sys.modules[parent.__name__] = parent
        sys.modules[module.__name__] = module
