"""What the tests of whole commands share: the scripts as modules, their corpora, a tiny checkpoint."""

import numpy as np
import pytest
import torch

from ..conftest import script


def make_checkpoint(folder, *, rate=50, seed=7):
    """A tiny pretraining checkpoint on windows of 100 samples."""
    from ecg_transformers import MaeMocoConfig, MaeMocoFeatureExtractor, MaeMocoForPreTraining

    torch.manual_seed(seed)
    config = MaeMocoConfig(
        sampling_rate=rate, window_size=100, patch_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, decoder_hidden_size=8, decoder_num_attention_heads=2, decoder_intermediate_size=16,
        projector_hidden_size=8, projection_size=8, queue_size=32,
    )  # fmt: skip
    MaeMocoForPreTraining(config).save_pretrained(folder)
    MaeMocoFeatureExtractor(sampling_rate=rate, window_size=100, patch_size=10).save_pretrained(folder)
    return folder


def synthetic_corpus(folder, *, records=220):
    """Synthetic records of thirteen rhythms, 4 s at 50 Hz."""
    from ecg_transformers.corpora.build import build_corpus
    from ecg_transformers.corpora.sources.synthetic import synthetic_definition

    definition = synthetic_definition(records, sampling_rate=50, duration=4.0)
    build_corpus(definition, folder.parent, folder, progress=False)
    return folder


def small_definition(folder, *, folds=True, silent=()):
    """32 synthetic records of 16 patients in 4 folds, 10 s at 100 Hz, with rhythm labels; some without signal."""
    from ecg_transformers.corpora.definition import CorpusDefinition, LabelSet, RecordSource
    from ecg_transformers.corpora.layout import CorpusRecord
    from ecg_transformers.signals.leads import STANDARD_LEADS

    def read(root, source):
        random = np.random.default_rng(source.record_id)
        beats = np.sin(2 * np.pi * (1 + source.record_id % 2) * np.arange(1000) / 100) ** 21
        wave = beats * random.uniform(0.3, 1.5, (12, 1)) + 0.03 * random.normal(size=(12, 1000))
        wave *= source.record_id not in silent
        return CorpusRecord(
            np.round(1000 * wave).astype(np.int16),
            100.0,
            STANDARD_LEADS,
            gain=np.full(12, 1000.0),
            record_id=source.record_id,
            patient_id=source.patient_id,
            fold=source.fold,
            labels=source.labels,
        )

    sources = [
        RecordSource(
            str(n),
            f"r{n}",
            n,
            patient_id=n // 2,
            fold=1 + (n // 2) % 4 if folds else -1,
            labels=("SLOW", "FAST")[n % 2 : n % 2 + 1],
        )
        for n in range(32)
    ]
    rhythms = LabelSet(("SLOW", "FAST"), ("slow", "fast"), "own")
    return CorpusDefinition(
        folder.name,
        "Small corpus",
        "1",
        "CC0",
        "",
        "",
        "own",
        lambda *_: (folder, sources),
        read,
        lambda _: {"rhythm": rhythms},
    )


def small_corpus(folder, **options):
    """The records of `small_definition`, prepared."""
    from ecg_transformers.corpora.build import build_corpus

    folder.parent.mkdir(parents=True, exist_ok=True)
    build_corpus(small_definition(folder, **options), folder.parent, folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return synthetic_corpus(tmp_path_factory.mktemp("corpus") / "synthetic")


@pytest.fixture(scope="session")
def pretrain():
    """The main function of `training/pretrain.py`."""
    return script("pretrain").main
