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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import CorpusError
from ..files import replace_folder, write_text
from ..signals.record import EcgRecord
from .conversion import STORED_STEPS
from .definition import CorpusDefinition, LabelSet, RecordSource
from .fold_roles import FoldRoles, default_fold_roles
from .layout import CONTENT_VERSION, FORMAT_VERSION, CorpusRecord, Storage
from .memory import fit_build
from .prepared import Corpus, load_corpus
from .shard_builder import BuildJob, build_shards
from .shards import ShardReport, summarize, write_index, write_shard

if TYPE_CHECKING:
    from ..features.extractor import EcgFeatureExtractor

__all__ = ["build_corpus", "plan_hash", "write_corpus"]

logger = logging.getLogger(__name__)

# A shard is closed when its signal files reach this many bytes: small enough that a kill costs little and that a
# worker's memory stays low, large enough that a corpus of a million records has a thousand files.
SHARD_BYTES = 24 * 2**20
SHARD_RECORDS = 1024


def build_corpus(
    definition: CorpusDefinition,
    source: str | Path,
    output: str | Path,
    *,
    num_proc: int = 1,
    sampling_rate: float | None = None,
    extractor: "EcgFeatureExtractor | None" = None,
    implausible_amplitude: Literal["error", "accept"] = "error",
    overwrite: bool = False,
    progress: bool = True,
    shard_bytes: int = SHARD_BYTES,
    max_memory: str | int | None = None,
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
        implausible_amplitude: `"error"` refuses recordings whose values cannot be millivolts (default), `"accept"`
            takes them as they are.
        overwrite: replace what is at `output`.
        progress: show a progress bar.
        shard_bytes: bytes of signal files after which a shard is closed; has no influence on the content hash.
        max_memory: bound for the memory of all processes together, such as `"2GB"`: fewer processes and smaller shards
            are used where that is needed, see `corpora.memory`. None: `num_proc` and `shard_bytes` as given.

    Raises:
        CorpusError: the tree is missing, the output folder holds something else, or no record could be read, or
            `max_memory` is too small.
    """
    from filelock import FileLock

    source, output = Path(source).expanduser(), Path(output).expanduser().absolute()
    if num_proc < 1:
        raise CorpusError(f"num_proc is {num_proc}; expected 1 or more.")
    if extractor is not None and sampling_rate is not None:
        raise CorpusError("both sampling_rate and an extractor were given; the extractor has a rate. Leave one out.")
    root, records = definition.find(source, sampling_rate)
    _check_records(records, source, definition.name)
    work = output.with_name(f".{output.name}.building")
    job = replace(
        _plan_job(definition, root, work, sampling_rate, extractor), implausible_amplitude=implausible_amplitude
    )
    if max_memory is not None:
        num_proc, shard_bytes = _fit(job, records, max_memory, num_proc)
    plan = plan_hash(definition, records, job.stored_as)
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.with_name(f".{output.name}.lock")):
        if (finished := _finished(output, plan, overwrite)) is not None:
            return finished
        shards = _cut(records, shard_bytes)
        _open_work(work, plan, len(shards), shard_bytes)
        reports = build_shards(job, shards, num_proc=num_proc, progress=progress)
        if not any(report.digests for report in reports):
            shutil.rmtree(work)
            reason = reports[0].refused[0].reason
            raise CorpusError(f"none of {len(records)} records of {source} could be read; the first reason: {reason}")
        write_index(work, reports, _facts(job, plan, reports), job.storage)
        _publish(work, output)
    return load_corpus(output)


def _fit(job: BuildJob, records: Sequence[RecordSource], max_memory: str | int, num_proc: int) -> tuple[int, int]:
    """Number of processes and size of shards for a bound of the memory."""
    growth = 2.0 if job.storage == "float32" else 1.0
    rate = job.sampling_rate if job.contract is None else job.contract.sampling_rate
    if rate and job.definition.native_rates:
        growth *= max(rate / min(job.definition.native_rates), 1.0)
    found = fit_build(
        max_memory,
        [record.size for record in records],
        num_proc=num_proc,
        growth=growth,
        with_torch=job.contract is not None,
    )
    if found[0] < num_proc:
        logger.warning("max_memory %s allows %d of %d processes", max_memory, found[0], num_proc)
    return found


def _plan_job(
    definition: CorpusDefinition,
    root: Path,
    work: Path,
    sampling_rate: float | None,
    extractor: "EcgFeatureExtractor | None",
) -> BuildJob:
    """How the records are stored: at which rate, after which steps, in which type."""
    if definition.stored_after is not None:
        if extractor is not None or sampling_rate not in (None, *definition.native_rates):
            raise CorpusError(
                f"{definition.name} is stored filtered, at {definition.native_rates[0]:g} Hz, and takes no other rate "
                "or checkpoint. Leave --sampling_rate and --model out."
            )
        return BuildJob(definition, root, work, definition.storage, None, None, dict(definition.stored_after()))
    other_rate = float(sampling_rate) if sampling_rate and sampling_rate not in definition.native_rates else None
    if extractor is None:
        storage: Storage = definition.storage if other_rate is None else "float32"
        return BuildJob(definition, root, work, storage, other_rate, None, None)
    return BuildJob(definition, root, work, "float32", None, extractor.contract, extractor.stamp(STORED_STEPS))


def _facts(job: BuildJob, plan: str, reports: Sequence[ShardReport]) -> dict[str, object]:
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


def _check_records(records: Sequence[RecordSource], source: Path, corpus: str) -> None:
    """Refuses an empty plan, and one in which records share an id: a record paired with itself would go unnoticed."""
    if not records:
        raise CorpusError(f"{source} holds no records of {corpus}.")
    seen: dict[int, RecordSource] = {}
    for record in records:
        other = seen.setdefault(record.record_id, record)
        if other is not record and other.path == record.path:
            raise CorpusError(f"{corpus}: {record.path} is listed twice, with and without its suffix; keep one row.")
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


def _publish(work: Path, output: Path, overwrite: bool = True) -> None:
    """Moves the finished folder to its place, then deletes the files that only a resumed build needs."""
    if overwrite:
        replace_folder(work, output)
    else:
        os.rename(work, output)
    _drop_leftovers(output)


def _drop_leftovers(output: Path) -> None:
    """Deletes the files that only a resumed build needs."""
    for leftover in [*output.glob("part-*.json"), output / "plan.json"]:
        leftover.unlink(missing_ok=True)
