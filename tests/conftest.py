"""Fixtures that several parts of the test suite use."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The tiny real recordings that ship with the tests."""
    return TESTS / "data"


@pytest.fixture(scope="session")
def recorded_metrics() -> Path:
    """The folder with labels, predictions, resamples and windows recorded from ecg-selfsupervised and the benchmark."""
    return TESTS / "parity" / "data" / "ecg_selfsupervised"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of specifications, fixtures and corpora beside the checkout; without it the test is skipped."""
    folder = TESTS.parents[1] / "shared"
    if not folder.is_dir():
        pytest.skip("../shared (specifications, fixtures, corpora) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def ptbxl_records(data_dir):
    """Three PTB-XL records at 100 Hz as EcgRecords: two normal, one with atrial fibrillation."""
    from ecg_transformers.signals.readers import read_record

    return [read_record(data_dir / "ptbxl" / f"{name}_lr.hea") for name in ("00001", "00002", "00152")]
