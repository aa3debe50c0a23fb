"""Fixtures that several parts of the test suite use."""

import gc
import importlib.util
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from transformers.utils import logging

from . import fresh

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# `caplog` listens at Python's root logger.
logging.enable_propagation()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported and collected stays: the garbage collector need not look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Where the longest tests are; the last ones keep one worker busy while the other has nothing left.
LONGEST = ("roads", "examples", "test_docs", "test_toy_families", "test_backbone", "trainer", "models", "conformance")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests; the examples of docstrings, each a moment, are the end as before."""
    rank = {name: number for number, name in enumerate(LONGEST)}

    def place(item: pytest.Item) -> int:
        inside = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else "doctests"
        return rank.get(inside.removesuffix(".py"), len(rank) + (inside == "doctests"))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def verbosity():
    """What a test sets ends with it."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


TESTS = Path(__file__).parent
ROOT = TESTS.parent
CONFIGS = ROOT / "training" / "configs"


def script(name: str):
    """A script of `training/` as a module: most of what it does needs no fresh process."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "training" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count(module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def drawn(model, x, seed=2) -> dict:
    """Inputs of a pretraining model with everything that it draws."""
    from ecg_transformers.augmentations.row_generator import RowGenerator

    return model.apply_draws({"input_values": x}, model.draw(RowGenerator(len(x), seed=seed)))


@pytest.fixture(scope="session")
def forked_verification():
    """Published folders are opened in forked processes; `tests/roads/test_publish.py` has the command as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("ecg_transformers.publishing.verify"), "subprocess", fresh.forked)
        yield


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
    from ecg_transformers.signals.formats.readers import read_record

    return [read_record(data_dir / "ptbxl" / f"{name}_lr.hea") for name in ("00001", "00002", "00152")]


# A tiny corpus whose labels can be seen in its signals, and a tiny encoder.
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
CODES = ("FAST", "TALL", "RARE")


def make_signal(number: int, labels: tuple[str, ...], seconds: float) -> np.ndarray:
    """A wave that is fast under FAST and has a tall second half under TALL, int16 at 1000 units per mV, 50 Hz."""
    random = np.random.default_rng(number)
    time = np.arange(round(50 * seconds)) / 50
    rate = random.uniform(2.5, 3.0) if "FAST" in labels else random.uniform(1.0, 1.5)
    tall = 1.0 + (2.0 * (time % 2 > 1) if "TALL" in labels else 0.0)
    wave = np.sin(2 * np.pi * rate * time + random.uniform(0, 6, (12, 1))) * tall
    return np.round(1000 * (wave + 0.3 * random.normal(size=wave.shape))).astype(np.int16)


def label_of(number: int) -> tuple[str, ...]:
    labels = [
        code
        for code, marked in zip(CODES, (number % 3 == 0, number % 2 == 0, number in (4, 40)), strict=True)
        if marked
    ]
    return tuple(labels)


def build_tiny(folder: Path, *, records: int = 160, system: str = "scp", single: bool = False, long_every: int = 0):
    """Records of 2 s (some of 4 s), two per patient, folds 1 to 10."""
    from ecg_transformers.corpora.build import build_corpus
    from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource
    from ecg_transformers.corpora.layout import CorpusRecord

    rows = {}
    for number in range(records):
        labels = label_of(number)
        if single:
            labels = ("FAST",) if "FAST" in labels else ("TALL",) if "TALL" in labels else ("NONE",)
        seconds = 4.0 if long_every and number % long_every == 0 else 2.0
        rows[number] = CorpusRecord(
            make_signal(number, labels, seconds), 50.0, LEADS, np.full(12, 1000.0), record_id=number,
            name=f"r{number}", patient_id=number // 2, fold=1 + (number // 2) % 10, labels=labels,
        )  # fmt: skip
    sources = [
        RecordSource(f"{n}", f"r{n}", n, patient_id=row.patient_id, fold=row.fold, labels=row.labels)
        for n, row in rows.items()
    ]
    codes = ("FAST", "NONE", "TALL") if single else CODES
    kind = "single_label_classification" if single else "multi_label_classification"
    names = tuple(f"the label {code}" for code in codes)
    definition = CorpusDefinition(
        name="tiny", title="Tiny corpus", version="1", license="CC0", homepage="", citation="", label_system=system,
        find=lambda source, rate: (source, sources), read=lambda root, record: rows[record.record_id],
        label_sets=lambda _: {"all": LabelSet(codes, names, system, problem_type=kind)},
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    return build_corpus(definition, folder.parent, folder, progress=False)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory) -> Path:
    """160 records of 80 patients in ten folds."""
    folder = tmp_path_factory.mktemp("corpus") / "tiny"
    build_tiny(folder)
    return folder


@pytest.fixture
def corpus(corpus_folder):
    from ecg_transformers.corpora.prepared import load_corpus

    return load_corpus(corpus_folder)


@pytest.fixture(scope="session")
def single_corpus(tmp_path_factory):
    """60 records with one of three classes each, every fourth of two windows."""
    return build_tiny(tmp_path_factory.mktemp("single") / "tiny", records=60, single=True, long_every=4)


@pytest.fixture(scope="session")
def own_corpus(tmp_path_factory):
    """60 records with labels of the user's own table."""
    return build_tiny(tmp_path_factory.mktemp("own") / "tiny", records=60, system="own")


@pytest.fixture
def extractor():
    from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor

    return MaeMocoFeatureExtractor(sampling_rate=50, window_size=100, patch_size=10)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A pretraining checkpoint of a tiny MAE-MoCo with random weights."""
    import torch

    from ecg_transformers.models.mae_moco.configuration_mae_moco import MaeMocoConfig
    from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor
    from ecg_transformers.models.mae_moco.pretraining_mae_moco import MaeMocoForPreTraining

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-ecg"
    torch.manual_seed(0)
    config = MaeMocoConfig(
        sampling_rate=50, window_size=100, patch_size=10, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, decoder_hidden_size=8, decoder_num_attention_heads=2, decoder_intermediate_size=16,
        projector_hidden_size=8, projection_size=8, queue_size=32,
    )  # fmt: skip
    MaeMocoForPreTraining(config).save_pretrained(folder)
    MaeMocoFeatureExtractor(sampling_rate=50, window_size=100, patch_size=10).save_pretrained(folder)
    return folder


# A tiny pretraining model.
TINY = {
    "sampling_rate": 50,
    "window_size": 100,
    "patch_size": 10,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.1,
    "decoder_hidden_size": 8,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
    "projector_hidden_size": 8,
    "projection_size": 8,
    "queue_size": 32,
    "reconstruction_weight": 4.0,
    "same_source": "exclude",
}


@pytest.fixture
def make_model():
    """Make the tiny model; keywords change its config."""
    import torch

    from ecg_transformers.models.mae_moco.configuration_mae_moco import MaeMocoConfig
    from ecg_transformers.models.mae_moco.pretraining_mae_moco import MaeMocoForPreTraining

    def make(**changes):
        torch.manual_seed(0)
        return MaeMocoForPreTraining(MaeMocoConfig(**{**TINY, **changes}))

    return make
