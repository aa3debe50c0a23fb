"""The tester of each registered architecture as a fixture: a test that takes it runs once per architecture."""

import pytest

from ecg_transformers.auto import ARCHITECTURES

from .testers import TESTERS, EcgModelTester


@pytest.fixture(params=ARCHITECTURES)
def tester(request) -> EcgModelTester:
    """The tester of one architecture."""
    if request.param not in TESTERS:
        pytest.fail(f"architecture {request.param!r} has no tester; add one to tests/conformance/testers.py")
    return TESTERS[request.param]()


@pytest.fixture(params=["model", "pretraining", "classifier"])
def model_class(request, tester) -> type:
    """One registered class of the architecture."""
    return getattr(tester.architecture, request.param)
