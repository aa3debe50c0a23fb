"""A tiny corpus, extractor and model for the tests of the Trainer."""

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def signal(seed: int, samples: int = 100, leads: int = 12) -> np.ndarray:
    """A slow wave per lead with noise, int16 at 1000 units per mV."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 50
    phase, rate = random.uniform(0, 6, (leads, 1)), random.uniform(0.8, 2.0)
    wave = np.sin(2 * np.pi * rate * time + phase) * random.uniform(0.2, 1.5, (leads, 1))
    return np.round(1000 * (wave + 0.05 * random.normal(size=(leads, samples)))).astype(np.int16)


def build(folder: Path, rows: list):
    """Build a prepared corpus from `CorpusRecord`s."""
    from ecg_transformers.corpora.build import build_corpus
    from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource

    sources = [
        RecordSource(
            path=f"{row.record_id}",
            name=f"r{row.record_id}",
            record_id=row.record_id,
            patient_id=row.patient_id,
            fold=row.fold,
            labels=row.labels,
        )
        for row in rows
    ]
    table = {row.record_id: row for row in rows}
    definition = CorpusDefinition(
        name="tiny",
        title="Tiny corpus",
        version="1",
        license="CC0",
        homepage="",
        citation="",
        label_system="own",
        find=lambda source, rate: (source, sources),
        read=lambda root, record: table[record.record_id],
        label_sets=lambda codes: {"all": LabelSet(("A", "B"), ("label A", "label B"), "own")},
        storage="int16" if rows[0].signal.dtype == np.int16 else "float32",
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    return build_corpus(definition, folder.parent, folder, progress=False)


def record(number: int, **changes):
    """One row: patient number // 2, folds 1 to 4, labels A and B by turns."""
    from ecg_transformers.corpora.layout import CorpusRecord

    facts = {
        "signal": signal(number),
        "sampling_rate": 50.0,
        "leads": LEADS,
        "gain": np.full(12, 1000.0),
        "record_id": number,
        "name": f"r{number}",
        "patient_id": number // 2,
        "fold": 1 + (number // 2) % 4,
        "labels": ("A",) if number % 3 == 0 else ("B",),
    }
    return CorpusRecord(**{**facts, **changes})


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory) -> Path:
    """96 records of 48 patients in 4 folds, 12 leads, 2 s at 50 Hz."""
    folder = tmp_path_factory.mktemp("corpus") / "tiny"
    build(folder, [record(number) for number in range(96)])
    return folder


@pytest.fixture
def corpus(corpus_folder):
    from ecg_transformers.corpora.prepared import load_corpus

    return load_corpus(corpus_folder)


@pytest.fixture
def extractor():
    from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor

    return MaeMocoFeatureExtractor(sampling_rate=50, window_size=100, patch_size=10)


@pytest.fixture
def make_trainer(tmp_path, corpus, extractor, make_model):
    """Make a Trainer of the tiny model; keywords change its arguments."""
    from ecg_transformers.trainer import EcgTrainingArguments, PretrainingTrainer, WindowDataset

    def make(*, model=None, callbacks=None, folder="run", evaluate=False, **changes):
        arguments = {
            "output_dir": str(tmp_path / folder),
            "per_device_train_batch_size": 8,
            "per_device_eval_batch_size": 16,
            "max_steps": 6,
            "learning_rate": 1e-3,
            "max_grad_norm": 1.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "report_to": "none",
        }
        train = WindowDataset(corpus.select(folds=[1, 2, 3]), extractor)
        return PretrainingTrainer(
            model=make_model() if model is None else model,
            args=EcgTrainingArguments(**{**arguments, **changes}),
            train_dataset=train,
            eval_dataset=WindowDataset(corpus.select(folds=[4]), extractor) if evaluate else None,
            processing_class=extractor,
            callbacks=callbacks,
        )

    return make
