"""The tester of each registered architecture as a fixture: a test that takes it runs once per architecture."""

import pytest

from ecg_transformers.auto import ARCHITECTURES

from .testers import TESTERS, EcgModelTester, model_kinds


def pytest_generate_tests(metafunc):
    """Once per architecture; with `model_class`, once per class that the architecture has."""
    if "model_class" in metafunc.fixturenames:
        pairs = [(name, kind) for name, architecture in ARCHITECTURES.items() for kind in model_kinds(architecture)]
        metafunc.parametrize(("tester", "model_class"), pairs, indirect=True)
    elif "tester" in metafunc.fixturenames:
        metafunc.parametrize("tester", ARCHITECTURES, indirect=True)


@pytest.fixture
def tester(request) -> EcgModelTester:
    """The tester of one architecture."""
    if request.param not in TESTERS:
        pytest.fail(f"architecture {request.param!r} has no tester; add one to tests/conformance/testers.py")
    return TESTERS[request.param]()


@pytest.fixture
def model_class(request, tester) -> type:
    """One registered class of the architecture."""
    return getattr(tester.architecture, request.param)


@pytest.fixture
def pretraining(tester) -> type:
    """The pretraining class of the architecture; without one the test is skipped."""
    if tester.architecture.pretraining is None:
        pytest.skip(f"{tester.model_type} is a supervised network: it has no objective of pretraining")
    return tester.architecture.pretraining
