"""`max_memory`: processes and shards that fit, the refusal of too little, the same corpus with every bound."""

import pytest

from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.memory import fit_build, memory_bytes
from ecg_transformers.corpora.sources.synthetic import synthetic_definition
from ecg_transformers.errors import CorpusError

SIZES = [24_000] * 20_000


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2e9), ("2 gb", 2e9), ("500M", 5e8), ("1.5GiB", 1.5 * 2**30), ("2KiB", 2048), (7, 7)]
)
def test_amounts_of_memory_have_units(text, size):
    assert memory_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "-1GB", "2 bananas", "", "1e9"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(CorpusError, match="expected a number with a unit"):
        memory_bytes(text)


def test_less_memory_means_smaller_shards_then_fewer_processes():
    found = [fit_build(f"{size}MB", SIZES, num_proc=2) for size in (1000, 600, 500, 440)]
    assert [processes for processes, _ in found] == [2, 2, 2, 1]
    shards = [shard for _, shard in found]
    assert shards[0] == 24 * 2**20
    assert shards[0] > shards[1] > shards[2]


def test_longer_records_and_a_checkpoint_need_more():
    processes, _ = fit_build("1GB", SIZES, num_proc=4)
    assert fit_build("1GB", [50_000_000], num_proc=4)[0] < processes
    assert fit_build("1GB", SIZES, num_proc=4, with_torch=True)[0] < processes
    assert fit_build("1GB", SIZES, num_proc=4, growth=10)[0] < processes


def test_too_little_is_refused_with_what_is_needed(tmp_path):
    with pytest.raises(CorpusError, match=r"one process needs about 363 MB for 20,000 records"):
        fit_build("300MB", SIZES, num_proc=2)
    with pytest.raises(CorpusError, match="max_memory is 100MB; one process needs about"):
        build_corpus(synthetic_definition(12, sampling_rate=100), "", tmp_path / "out", max_memory="100MB")
    assert not list(tmp_path.iterdir())


def test_the_corpus_is_the_same_with_every_bound(tmp_path):
    hashes = {
        build_corpus(
            synthetic_definition(12, sampling_rate=100), "", tmp_path / str(bound), max_memory=bound, progress=False
        ).hash
        for bound in (None, "400MB", "4GB")
    }
    assert len(hashes) == 1
