"""Prepared corpora on the Hub: pushed as Parquet, streamed back into memory-mapped Arrow files, or read as they arrive.

The repository holds `data/*.parquet` (the columns of `layout.py`), `corpus.json`, `refused.csv` and a card. Signals are
stored as differences of neighboring samples and compressed, which takes about half of their size in memory.
"""

import csv
import json
import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError
from ..files import replace_file, replace_folder, write_text
from ..hub_access import hub_errors
from .layout import corpus_features
from .shards import Refusal, ShardReport, write_index

if TYPE_CHECKING:
    import datasets
    import pyarrow

    from .prepared import Corpus

__all__ = ["fetch_corpus", "is_repository", "push_corpus", "stream_corpus"]

logger = logging.getLogger(__name__)

# Bytes of signals in a Parquet file: a hundred million records are some ten thousand files.
_FILE_BYTES = 256 * 2**20
# Records that are written and read together.
_ROWS = 1024
_INFO, _REFUSED = "corpus.json", "refused.csv"


def is_repository(name: str) -> bool:
    """Whether a text is the name of a repository (`owner/name`) and no folder, nor a place in one that exists."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None and not Path(name).parent.exists()


def push_corpus(corpus: "Corpus", repo_id: str, *, private: bool = True) -> str:
    """Push a prepared corpus to the Hub as Parquet.

    Args:
        corpus: A whole corpus on disk.
        repo_id: `owner/name`; the repository is created if it does not exist.
        private: Whether a new repository is private. Default: yes. Mind the license of the recordings.

    Returns:
        Address of the commit.

    Raises:
        CorpusError: The corpus is a selection, was joined or relabeled, `repo_id` names no repository, or the Hub
            cannot be reached or refuses it.
    """
    from huggingface_hub import HfApi

    if corpus.path is None or len(corpus) != len(corpus.rows) or "labels_changed" in corpus.info:
        raise CorpusError(f"{corpus!r} is a selection, or was joined or relabeled; push a corpus as it was prepared.")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id) is None:
        raise CorpusError(f"{repo_id!r} is no name of a repository; expected owner/name.")
    api, refused = HfApi(), f"{repo_id} cannot be pushed to"
    with hub_errors(refused, kind=CorpusError):
        api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_parquet(corpus, folder / "data")
        for file in (_INFO, _REFUSED):
            write_text(folder / file, (corpus.path / file).read_text(encoding="utf-8"))
        write_text(folder / "README.md", _card(corpus.info))
        with hub_errors(refused, kind=CorpusError):
            pushed = api.upload_folder(
                repo_id=repo_id,
                repo_type="dataset",
                folder_path=folder,
                commit_message=f"{corpus.name}: {len(corpus):,} records",
                delete_patterns="data/*.parquet",
            )
    return str(pushed.commit_url)


def _write_parquet(corpus: "Corpus", folder: Path) -> None:
    """Write all rows as Parquet files of about `_FILE_BYTES`."""
    import pyarrow.parquet as parquet

    folder.mkdir()
    table: pyarrow.Table = corpus.rows.data.table
    size = 2 if corpus.info["storage"] == "int16" else 4
    rows = max(_ROWS, int(_FILE_BYTES / max(corpus.info["values"] * size / len(table), 1)))
    starts = range(0, len(table), rows)
    for number, start in enumerate(starts):
        # ECG samples differ little from their neighbors.
        encoding = {"signal.list.element": "DELTA_BINARY_PACKED"} if size == 2 else {}
        parquet.write_table(
            table.slice(start, rows),
            folder / f"train-{number:05d}-of-{len(starts):05d}.parquet",
            row_group_size=_ROWS,
            compression="zstd",
            use_dictionary=["leads.list.element", "labels.list.element", "sex"],
            column_encoding=encoding or None,
        )


def _card(info: dict[str, Any]) -> str:
    """The dataset card: what the corpus is, its license, how it is opened."""
    facts = {key: str(info.get(key) or "not stated") for key in ("title", "version", "license", "homepage", "citation")}
    return (
        "---\nlicense: other\n"
        f"license_name: {json.dumps(facts['license'])}\n"
        "tags:\n- ecg\n- electrocardiography\n- ecg_transformers\n"
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/*.parquet\n---\n\n"
        f"# {facts['title']}\n\nVersion {facts['version']}, {info['records']:,} records, prepared for "
        f"`ecg_transformers`. License: {facts['license']}. Source: {facts['homepage']}\n\n"
        '```python\nfrom ecg_transformers import load_corpus\n\ncorpus = load_corpus("OWNER/NAME")\n```\n\n'
        f"{facts['citation']}\n"
    )


def fetch_corpus(repo_id: str, *, revision: str | None = None) -> Path:
    """Stream a corpus from the Hub into the cache of `datasets`, unless it is there.

    Files that were fetched before an interruption are kept. Of several processes one fetches, the others wait.

    Args:
        repo_id: `owner/name`.
        revision: Branch, tag or commit. Default: the main branch.

    Returns:
        Folder of the prepared corpus.

    Raises:
        CorpusError: The Hub cannot be reached, has no such dataset, or it is no prepared corpus.
    """
    from datasets import config
    from filelock import FileLock

    info, commit = _read_info(repo_id, revision)
    target = (
        Path(config.HF_DATASETS_CACHE) / "ecg_transformers" / repo_id.replace("/", "--") / info["content_hash"][:16]
    )
    if not (target / _INFO).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not (target / _INFO).is_file():
                _fetch(repo_id, commit, info, target)
    return target


def _read_info(repo_id: str, revision: str | None) -> tuple[dict[str, Any], str]:
    """`corpus.json` of a repository, and the commit that it is of."""
    from huggingface_hub import hf_hub_download

    what = f"{repo_id} is no folder, and no prepared corpus of the Hub"
    with hub_errors(what, " Push one with ecg-transformers push.", kind=CorpusError):
        path = Path(hf_hub_download(repo_id, _INFO, repo_type="dataset", revision=revision))
        return json.loads(path.read_text(encoding="utf-8")), path.parent.name


def _fetch(repo_id: str, commit: str, info: dict[str, Any], target: Path) -> None:
    """Write the Arrow files of a corpus, one for each Parquet file, then its index; all appear at once."""
    import pyarrow as pa
    from huggingface_hub import HfApi, hf_hub_download

    work = target.with_name(f".{target.name}.fetching")
    work.mkdir(exist_ok=True)
    schema = corpus_features(info["storage"]).arrow_schema
    files = _data_files(HfApi().list_repo_files(repo_id, repo_type="dataset", revision=commit))
    logger.info("fetching %s: %s records in %d files", repo_id, f"{info['records']:,}", len(files))
    reports = []
    for number, file in enumerate(files):
        path = work / f"data-{number:05d}.arrow"
        reports.append(ShardReport(path.name))
        if path.is_file():
            continue
        with (
            replace_file(path) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_stream(sink, schema) as writer,
        ):
            for table in _stream(repo_id, commit, [file]).with_format("arrow").iter(batch_size=_ROWS):
                writer.write_table(table.select(schema.names).cast(schema))
    refused = Path(hf_hub_download(repo_id, _REFUSED, repo_type="dataset", revision=commit))
    with refused.open(encoding="utf-8", newline="") as rows:
        reports[0].refused = [Refusal(**row) for row in csv.DictReader(rows)]
    write_index(work, reports, info, info["storage"])
    replace_folder(work, target)


def _data_files(files: list[str]) -> list[str]:
    return sorted(file for file in files if re.fullmatch(r"data/[\w-]+\.parquet", file))


def _stream(repo_id: str, commit: str, files: list[str]) -> "datasets.IterableDataset":
    from datasets import load_dataset

    places = [f"hf://datasets/{repo_id}@{commit}/{file}" for file in files]
    return load_dataset("parquet", data_files=places, split="train", streaming=True)


def stream_corpus(
    repo_id: str, *, revision: str | None = None, rank: int = 0, world_size: int = 1
) -> "datasets.IterableDataset":
    """Read the rows of a corpus on the Hub as they arrive, without keeping them; each process has its part.

    Args:
        repo_id: `owner/name`.
        revision: Branch, tag or commit. Default: the main branch.
        rank: Number of this process, from 0.
        world_size: Number of processes; every row goes to one of them (`datasets.distributed.split_dataset_by_node`).

    Returns:
        Rows with the columns of a prepared corpus. With `stored = numpy.reshape(row["signal"], (len(row["leads"]),
        -1))` the signal in mV is `(stored - baseline) / gain`, lead by lead.

    Raises:
        CorpusError: As `fetch_corpus`.
    """
    from datasets.distributed import split_dataset_by_node
    from huggingface_hub import HfApi

    _, commit = _read_info(repo_id, revision)
    files = _data_files(HfApi().list_repo_files(repo_id, repo_type="dataset", revision=commit))
    return split_dataset_by_node(_stream(repo_id, commit, files), rank=rank, world_size=world_size)
