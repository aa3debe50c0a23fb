"""The checkpoints that ship in `hub/`: whole, open with and without the package, with the figures of their results."""

from pathlib import Path

import pytest
from transformers import AutoFeatureExtractor, AutoModel

from ecg_transformers.publishing import verify
from ecg_transformers.publishing.card.results import load_results
from ecg_transformers.publishing.golden import compare_golden

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for path in (ROOT / "hub").glob("*") if path.is_dir())
MIB = 2**20


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def folder(request):
    return request.param


def test_a_shipped_checkpoint_is_whole_and_its_card_has_the_figures_of_its_results(folder):
    results = load_results(ROOT / "hub_cards" / folder.name / "results.json")
    assert any(entry["initialisation"] == "random" for entry in results)
    assert verify(folder, results=results).golden.passed


def test_with_the_package_its_golden_recording_comes_out_as_stored(folder):
    report = compare_golden(
        folder, AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    )
    assert report.passed, str(report)


def test_the_sizes_stay_within_bounds():
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in SHIPPED]
    assert all(size < 30 * MIB for size in sizes)
    assert sum(sizes) < 100 * MIB
