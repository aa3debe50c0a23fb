"""The tester of each registered architecture as a fixture: a test that takes it runs once per architecture."""

import pytest

from ..testers.tester import ROWS, EcgModelTester, testers


def pytest_generate_tests(metafunc):
    """Once per architecture; with `model_class`, once per class that the architecture has."""
    if "model_class" in metafunc.fixturenames:
        pairs = [(name, kind) for name, tester in testers().items() for kind in ROWS[tester.model_type].heads]
        metafunc.parametrize(("tester", "model_class"), pairs, indirect=True)
    elif "tester" in metafunc.fixturenames:
        metafunc.parametrize("tester", testers(), indirect=True)


@pytest.fixture
def tester(request) -> EcgModelTester:
    """The tester of one architecture."""
    return testers()[request.param]()


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


@pytest.fixture
def classifier(tester) -> type:
    """The classifier of the architecture; without one the test is skipped."""
    if tester.architecture.classifier is None:
        pytest.skip(f"{tester.model_type} has no classifier")
    return tester.architecture.classifier
