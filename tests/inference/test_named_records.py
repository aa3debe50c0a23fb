"""What a warning says of the records of a corpus."""

import numpy as np

from ecg_transformers.corpora.build import write_corpus
from ecg_transformers.features.extractor import EcgFeatureExtractor
from ecg_transformers.features.preparation import _warn_of_offset
from ecg_transformers.inference.encode import iterate_windows
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.signals.synthesis import synthesize_record


def test_the_first_recordings_of_a_corpus_with_an_unusual_offset_are_named(tmp_path, caplog):
    _warn_of_offset.cache_clear()
    records = [synthesize_record(duration=4, sampling_rate=100, seed=seed) for seed in range(8)]
    shift = np.r_[np.zeros(11), 3.0][:, None].astype(np.float32)
    off = [
        EcgRecord(record.signal + shift, 100, record.leads, name=f"patient{number}")
        for number, record in enumerate(records)
    ]
    corpus = write_corpus(off, tmp_path / "corpus", {"name": "mine"})
    keeping = EcgFeatureExtractor(sampling_rate=100, window_size=200, normalization="none")
    list(iterate_windows(corpus, keeping))
    found = [entry.getMessage() for entry in caplog.records if "unusual offset" in entry.getMessage()]
    assert [text.partition(":")[0] for text in found[:-1]] == [f"record patient{number}" for number in range(5)]
    assert found[-1] == "Further recordings with an unusual offset are not named."
