"""From recordings to a prepared corpus: in shards, by several processes, resumable after a kill at any point.

Work in progress is kept in `.<name>.building` next to the output; finished shards survive a kill and are not built
again. The output folder appears by one rename at the end. The stored content depends on the records alone, neither on
the number of processes nor on the size of the shards.
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for_objects
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CorpusError, EcgError
from ..files import write_text
from ..signals.record import EcgRecord
from .conversion import STORED_STEPS, at_rate, in_millivolts, through_contract
from .definition import CorpusDefinition, LabelSet, RecordSource
from .fold_roles import FoldRoles, default_fold_roles
from .layout import CONTENT_VERSION, FORMAT_VERSION, CorpusRecord, Storage
from .prepared import Corpus, load_corpus
from .shards import Refusal, ShardReport, summarize, write_index, write_shard

if TYPE_CHECKING:
    from ..features.contract import SignalContract
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["build_corpus", "plan_hash", "write_corpus"]

logger = logging.getLogger(__name__)

# A shard is closed when its signal files reach this many bytes: small enough that a kill costs little and that a
# worker's memory stays low, large enough that a corpus of a million records has a thousand files.
SHARD_BYTES = 24 * 2**20
SHARD_RECORDS = 1024


@dataclass(frozen=True)
class _Job:
    """What every shard of one build shares; sent to the workers once."""

    definition: CorpusDefinition
    root: Path
    work: Path
    storage: Storage
    sampling_rate: float | None
    contract: "SignalContract | None"
    stamp: dict[str, Any] | None

    @property
    def stored_as(self) -> float | str | None:
        """What was done to the signals before they were stored: a contract's hash, another rate, or nothing."""
        return self.sampling_rate if self.stamp is None else self.stamp["hash"]


def build_corpus(
    definition: CorpusDefinition,
    source: str | Path,
    output: str | Path,
    *,
    num_proc: int = 1,
    sampling_rate: float | None = None,
    extractor: "EcgFeatureExtractor | None" = None,
    overwrite: bool = False,
    progress: bool = True,
    shard_bytes: int = SHARD_BYTES,
) -> Corpus:
    """Builds a prepared corpus from a corpus's official tree.

    A build that was killed resumes where it left off when the same call is made again; a finished corpus of the same
    content is returned as it is.

    Args:
        definition: the corpus.
        source: folder of its official tree.
        output: folder of the prepared corpus.
        num_proc: number of reading processes.
        sampling_rate: rate of the stored signals in Hz; None: as recorded. At a rate that is none of the corpus's
            native ones the signals are resampled and stored as float32.
        extractor: a checkpoint's extractor: the signals are stored after its selection of leads, resampling and
            filters, and the corpus carries the hash of these steps, so that the extractor does not repeat them.
        overwrite: replace what is at `output`.
        progress: show a progress bar.
        shard_bytes: bytes of signal files after which a shard is closed; has no influence on the content hash.

    Raises:
        CorpusError: the tree is missing, the output folder holds something else, or no record could be read.
    """
    from filelock import FileLock

    source, output = Path(source).expanduser(), Path(output).expanduser().absolute()
    if num_proc < 1:
        raise CorpusError(f"num_proc is {num_proc}; expected 1 or more.")
    if extractor is not None and sampling_rate is not None:
        raise CorpusError("both sampling_rate and an extractor were given; the extractor has a rate. Leave one out.")
    root, records = definition.find(source, sampling_rate)
    if not records:
        raise CorpusError(f"{source} holds no records of {definition.name}.")
    _check_unique(records, definition.name)
    work = output.with_name(f".{output.name}.building")
    job = _plan_job(definition, root, work, sampling_rate, extractor)
    plan = plan_hash(definition, records, job.stored_as)
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.with_name(f".{output.name}.lock")):
        finished = _finished(output, plan, overwrite)
        if finished is not None:
            return finished
        shards = _cut(records, shard_bytes)
        _open_work(work, plan, len(shards), shard_bytes)
        reports = _run(job, shards, num_proc=num_proc, progress=progress)
        if not any(report.digests for report in reports):
            shutil.rmtree(work)
            raise CorpusError(
                f"none of {len(records)} records of {source} could be read; the first reason: "
                f"{reports[0].refused[0].reason}"
            )
        write_index(work, reports, _facts(job, plan, reports), job.storage)
        _publish(work, output)
    return load_corpus(output)


def _plan_job(
    definition: CorpusDefinition,
    root: Path,
    work: Path,
    sampling_rate: float | None,
    extractor: "EcgFeatureExtractor | None",
) -> _Job:
    """How the records are stored: at which rate, after which steps, in which type."""
    other_rate = float(sampling_rate) if sampling_rate and sampling_rate not in definition.native_rates else None
    if extractor is None:
        storage: Storage = definition.storage if other_rate is None else "float32"
        return _Job(definition, root, work, storage, other_rate, None, None)
    return _Job(definition, root, work, "float32", None, extractor.contract, extractor.stamp(STORED_STEPS))


def _facts(job: _Job, plan: str, reports: Sequence[ShardReport]) -> dict[str, object]:
    """The content of `corpus.json`."""
    summary = summarize(reports)
    sets = job.definition.label_sets(summary["label_counts"])
    return job.definition.facts() | {
        "format_version": FORMAT_VERSION,
        "plan_hash": plan,
        "storage": job.storage,
        "preprocessed_by": job.stamp,
        "contract_hash": None if job.stamp is None else job.stamp["hash"],
        **summary,
        "fold_roles": _saved_roles(job.definition.fold_roles, summary["folds"]),
        "label_sets": {name: label_set.to_dict() for name, label_set in sets.items()},
    }


def _saved_roles(official: FoldRoles | None, folds: Iterable[str]) -> dict[str, list[int]] | None:
    """The roles of the folds for `corpus.json`: the official ones, else those of `default_fold_roles`."""
    roles = official or default_fold_roles(map(int, folds))
    return None if roles is None else roles.to_dict()


def write_corpus(
    records: Iterable[EcgRecord | CorpusRecord],
    output: str | Path,
    info: Mapping[str, object],
    *,
    label_sets: Mapping[str, LabelSet] | None = None,
    fold_roles: FoldRoles | None = None,
    overwrite: bool = False,
    shard_records: int = SHARD_RECORDS,
) -> Corpus:
    """Writes records that are already in memory, or come from a generator, as a prepared corpus.

    Args:
        records: rows, or records (stored as float32 mV; their position becomes the record id).
        output: folder of the prepared corpus; written atomically.
        info: facts for `corpus.json`: `name` at least; `title`, `version`, `license`, `homepage`,
            `citation`, `label_system` and any others.
        label_sets: named label lists; default: "all" with the codes that occur, sorted.
        fold_roles: which folds train, validate and test; default: `default_fold_roles` of the folds that occur.
        overwrite: replace what is at `output`.
        shard_records: records in a shard.

    Raises:
        CorpusError: there are no records, ids are repeated, storage types are mixed, or the output exists.

    Example:
        >>> corpus = write_corpus(records, "prepared/mine", {"name": "mine", "label_system": "own"})  # doctest: +SKIP
    """
    from filelock import FileLock

    output = Path(output).expanduser().absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = (
        row if isinstance(row, CorpusRecord) else CorpusRecord.from_ecg_record(row, record_id=index)
        for index, row in enumerate(records)
    )
    with FileLock(output.with_name(f".{output.name}.lock")):
        _finished(output, None, overwrite)
        work = output.with_name(f".{output.name}.building")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        reports, storage = _write_shards(rows, work, shard_records)
        summary = summarize(reports)
        if label_sets is None:
            codes = tuple(sorted(summary["label_counts"]))
            label_sets = {"all": LabelSet(codes, codes, str(info.get("label_system", "own")))} if codes else {}
        unknown = {"title": info["name"], "version": "", "license": "", "homepage": "", "citation": ""}
        facts = unknown | {"label_system": "own", "contract_hash": None, "preprocessed_by": None} | dict(info)
        facts |= {"format_version": FORMAT_VERSION, "storage": storage, **summary}
        facts["fold_roles"] = _saved_roles(fold_roles, summary["folds"])
        facts["label_sets"] = {name: label_set.to_dict() for name, label_set in label_sets.items()}
        write_index(work, reports, facts, storage)
        _publish(work, output, overwrite=overwrite)
    return load_corpus(output)


def _write_shards(rows: Iterator[CorpusRecord], work: Path, shard_records: int) -> tuple[list[ShardReport], Storage]:
    """Writes rows shard after shard; the first row decides the storage type."""
    reports: list[ShardReport] = []
    ids: set[int] = set()
    count = 0
    storage: Storage = "int16"
    while shard := list(islice(rows, shard_records)):
        storage = storage if reports else _storage(shard[0])
        ids.update(row.record_id for row in shard)
        count += len(shard)
        reports.append(write_shard(shard, work / f"data-{len(reports):05d}.arrow", storage))
    if len(ids) != count or not ids:
        raise CorpusError(f"{count} records with {len(ids)} different record ids; expected one id per record.")
    return reports, storage


def _storage(row: CorpusRecord) -> Storage:
    return "int16" if row.signal.dtype == "int16" else "float32"


def _check_unique(records: Sequence[RecordSource], corpus: str) -> None:
    """Refuses a plan in which two records share an id: a record paired with itself would go unnoticed."""
    seen: dict[int, RecordSource] = {}
    for record in records:
        other = seen.setdefault(record.record_id, record)
        if other is not record:
            raise CorpusError(f"{corpus}: {other.path} and {record.path} have the same record id {record.record_id}.")


def plan_hash(
    definition: CorpusDefinition, records: Sequence[RecordSource], stored_as: float | str | None = None
) -> str:
    """What identifies a build: corpus, stored rate or contract, and every record with the size of its file."""
    facts = (CONTENT_VERSION, definition.name, definition.version, definition.storage, stored_as)
    digest = hashlib.sha256(repr(facts).encode())
    for record in records:
        digest.update(repr(record).encode())
    return digest.hexdigest()


def _cut(records: Sequence[RecordSource], shard_bytes: int) -> list[list[RecordSource]]:
    """Consecutive records in shards of about `shard_bytes`."""
    shards: list[list[RecordSource]] = []
    size = 0
    for record in records:
        if not shards or size >= shard_bytes or len(shards[-1]) >= SHARD_RECORDS:
            shards.append([])
            size = 0
        shards[-1].append(record)
        size += record.size
    return shards


def _finished(output: Path, plan: str | None, overwrite: bool) -> Corpus | None:
    """The corpus that is already at `output` if it is the one asked for; an error if something else is there."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    facts = output / "corpus.json"
    if facts.is_file():
        info = json.loads(facts.read_text(encoding="utf-8"))
        if plan is not None and info.get("plan_hash") == plan and not overwrite:
            logger.info("%s is already complete (%d records)", output, info["records"])
            _drop_leftovers(output)
            return load_corpus(output)
        if overwrite:
            return None
        raise CorpusError(
            f"{output} already holds the corpus {info.get('name')!r} ({info.get('records')} records) made from "
            "other records or options. Choose another output, or replace it with overwrite (--overwrite)."
        )
    raise CorpusError(f"{output} exists and is not a prepared corpus; choose another output folder.")


def _open_work(work: Path, plan: str, shards: int, shard_bytes: int) -> None:
    """Makes the working folder, or keeps one that was left by the same build."""
    state = work / "plan.json"
    wanted = {"plan": plan, "format_version": FORMAT_VERSION, "shards": shards, "shard_bytes": shard_bytes}
    if work.is_dir():
        found = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else None
        if found == wanted:
            for leftover in work.glob(".*.unfinished*"):
                leftover.unlink(missing_ok=True)
            return
        logger.warning("%s holds an unfinished build from other records or options; it is deleted", work)
        shutil.rmtree(work)
    work.mkdir()
    write_text(state, json.dumps(wanted))


def _run(job: _Job, shards: list[list[RecordSource]], *, num_proc: int, progress: bool) -> list[ShardReport]:
    """Builds the shards that are missing and returns the reports of all, in order."""
    from tqdm.auto import tqdm

    reports: dict[int, ShardReport] = {}
    for index in range(len(shards)):
        path = _report_path(job.work, index)
        if path.is_file():
            reports[index] = ShardReport.from_json(path.read_text(encoding="utf-8"))
    missing = [index for index in range(len(shards)) if index not in reports]
    if reports:
        logger.info("resuming an unfinished build: %d of %d shards are done", len(reports), len(shards))
    total, done = sum(map(len, shards)), sum(len(shards[index]) for index in reports)
    workers = min(num_proc, len(missing))
    with tqdm(total=total, initial=done, unit=" records", desc=job.definition.name, disable=not progress) as bar:
        if workers <= 1:
            for index in missing:
                reports[index] = _build_shard(job, index, shards[index])
                bar.update(len(shards[index]))
        else:
            for index, report in _in_processes(job, {index: shards[index] for index in missing}, workers):
                reports[index] = report
                bar.update(len(shards[index]))
    return [reports[index] for index in range(len(shards))]


def _in_processes(
    job: _Job, shards: Mapping[int, list[RecordSource]], workers: int
) -> Iterable[tuple[int, ShardReport]]:
    """Yields the reports as worker processes finish their shards; at most two shards per worker are in progress."""
    with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(job,)) as pool:
        waiting = iter(shards.items())
        running: dict[Future, int] = {}
        try:
            while True:
                for index, records in islice(waiting, 2 * workers - len(running)):
                    running[pool.submit(_build_shard_in_worker, index, records)] = index
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool:
            raise CorpusError(
                "a reading process was killed (out of memory?); finished shards are kept. Run the same command again, "
                "with a smaller num_proc if this repeats."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_worker_job: list[_Job] = []


def _start_worker(job: _Job) -> None:
    """Stores the job for this process's shards, and ends the process when its parent dies.

    A killed build must not leave readers behind.
    """
    _worker_job[:] = [job]
    # Ctrl-C reaches every process of the terminal: the parent decides, shards in progress are finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:

        def watch() -> None:
            wait_for_objects([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _build_shard_in_worker(index: int, records: Sequence[RecordSource]) -> ShardReport:
    return _build_shard(_worker_job[0], index, records)


def _report_path(work: Path, index: int) -> Path:
    return work / f"part-{index:05d}.json"


def _build_shard(job: _Job, index: int, records: Sequence[RecordSource]) -> ShardReport:
    """Reads the records of a shard, writes it, and then its report, which marks it as finished."""
    started = time.perf_counter()
    rows: list[CorpusRecord] = []
    refused: list[Refusal] = []
    for record in records:
        try:
            rows += [_stored(job, row) for row in _read_rows(job, record)]
        except Exception as error:
            # One record must never stop the other 20,000, whatever a malformed file does to a reader; an error that
            # is none of ours is listed with its type.
            reason = str(error) if isinstance(error, EcgError) else f"{type(error).__name__}: {error}"
            refused.append(Refusal(record.name, record.path, reason))
    report = write_shard(rows, job.work / f"data-{index:05d}.arrow", job.storage)
    report.refused, report.seconds = refused, time.perf_counter() - started
    write_text(_report_path(job.work, index), report.to_json())
    return report


def _read_rows(job: _Job, record: RecordSource) -> Sequence[CorpusRecord]:
    """The rows that a record gives: itself, or its parts.

    Raises:
        CorpusError: there are none, or they are not the parts of this record with ids of their own.
    """
    found = job.definition.read(job.root, record)
    if isinstance(found, CorpusRecord):
        return [found]
    if not found:
        raise CorpusError("the reader found no part to keep.")
    if len({row.record_id for row in found}) != len(found) or {row.parent_id for row in found} != {record.record_id}:
        raise CorpusError(
            f"its {len(found)} rows are not parts of record {record.record_id}, each with an id of its own; expected "
            "rows made by CorpusRecord.part with different starts."
        )
    return found


def _stored(job: _Job, row: CorpusRecord) -> CorpusRecord:
    """The row as stored: through the contract, at the stored rate, in the storage type."""
    if job.contract is not None:
        return through_contract(row, job.contract)
    if job.sampling_rate is not None:
        return at_rate(row, job.sampling_rate)
    if job.storage == "float32":
        return in_millivolts(row)
    if row.signal.dtype != "int16":
        raise CorpusError("its samples have more than 16 bits or are no integers; this corpus stores 16-bit integers.")
    return row


def _publish(work: Path, output: Path, overwrite: bool = True) -> None:
    """Moves the finished folder to its place, then deletes the files that only a resumed build needs."""
    if output.exists() and any(output.iterdir()) and overwrite:
        old = output.with_name(f".{output.name}.replaced")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(output, old)
        os.rename(work, output)
        shutil.rmtree(old)
    else:
        os.rename(work, output)
    _drop_leftovers(output)


def _drop_leftovers(output: Path) -> None:
    """Deletes the files that only a resumed build needs."""
    for leftover in [*output.glob("part-*.json"), output / "plan.json"]:
        leftover.unlink(missing_ok=True)
