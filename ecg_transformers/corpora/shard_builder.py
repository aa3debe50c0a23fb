"""The shards of a corpus, built by this process or by several.

A shard's report, written after its rows, marks it as finished: a resumed build keeps the shards that have one.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.connection import wait as wait_for_objects
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import CorpusError, EcgError
from ..files import write_text
from ..signals.quality import amplitude_fault, flat_leads, how_taken
from .conversion import at_rate, in_millivolts, through_contract
from .definition import CorpusDefinition, RecordSource
from .layout import NO_PARENT, CorpusRecord, Storage
from .shards import Refusal, ShardReport, write_shard

if TYPE_CHECKING:
    from ..features.contract import SignalContract

__all__ = ["BuildJob", "build_shards"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildJob:
    """What every shard of one build shares; sent to the workers once."""

    definition: CorpusDefinition
    root: Path
    work: Path
    storage: Storage
    sampling_rate: float | None
    contract: "SignalContract | None"
    stamp: dict[str, Any] | None
    implausible_amplitude: Literal["error", "accept"] = "error"

    @property
    def stored_as(self) -> float | str | None:
        """What was done to the signals before they were stored: a contract's hash, another rate, or nothing."""
        stored = self.sampling_rate if self.stamp is None else self.stamp["hash"]
        return stored if self.implausible_amplitude == "error" else f"{stored}, any amplitude"


def build_shards(
    job: BuildJob, shards: list[list[RecordSource]], *, num_proc: int, progress: bool
) -> list[ShardReport]:
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
    job: BuildJob, shards: Mapping[int, list[RecordSource]], workers: int
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


_worker_job: list[BuildJob] = []


def _start_worker(job: BuildJob) -> None:
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


def _build_shard(job: BuildJob, index: int, records: Sequence[RecordSource]) -> ShardReport:
    """Reads the records of a shard, writes it, and then its report, which marks it as finished."""
    started = time.perf_counter()
    rows: list[CorpusRecord] = []
    refused: list[Refusal] = []
    # One record must never stop the other 20,000, whatever a malformed file does to a reader.
    for record in records:
        try:
            found = _read_rows(job, record)
        except Exception as error:
            refused.append(Refusal(record.name, record.path, _reason(error)))
            continue
        for row in found:
            try:
                rows.append(_stored(job, row))
            except Exception as error:
                refused.append(Refusal(row.name, record.path, _reason(error)))
    report = write_shard(rows, job.work / f"data-{index:05d}.arrow", job.storage)
    report.refused, report.seconds = refused, time.perf_counter() - started
    write_text(_report_path(job.work, index), report.to_json())
    return report


def _reason(error: Exception) -> str:
    """The message of an error of ours; that of any other with its type."""
    return str(error) if isinstance(error, EcgError) else f"{type(error).__name__}: {error}"


def _read_rows(job: BuildJob, record: RecordSource) -> Sequence[CorpusRecord]:
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


def _stored(job: BuildJob, row: CorpusRecord) -> CorpusRecord:
    """The row as stored: through the contract, at the stored rate, in the storage type.

    Raises:
        CorpusError: it has no signal, or values that cannot be millivolts.
    """
    _check_values(row, job.implausible_amplitude)
    if job.contract is not None:
        return through_contract(row, job.contract)
    if job.sampling_rate is not None:
        return at_rate(row, job.sampling_rate)
    if job.storage == "float32":
        return in_millivolts(row)
    if row.signal.dtype != "int16":
        raise CorpusError("its samples have more than 16 bits or are no integers; this corpus stores 16-bit integers.")
    return row


def _check_values(row: CorpusRecord, implausible_amplitude: str) -> None:
    """Refuses a row without signal, and a recording whose values cannot be millivolts; a part may be quiet."""
    signal = row.in_millivolts()
    if all(flat_leads(lead[None]).all() for lead in signal):  # ends at the first lead that moves
        raise CorpusError(f"record {row.name}: no signal in any lead")
    if implausible_amplitude == "error" and row.parent_id == NO_PARENT:
        fault = amplitude_fault(signal, row.sampling_rate, row.notes, row.leads)
        if fault is not None:
            raise CorpusError(
                f"record {row.name} {how_taken(row.notes)}, but {fault} Set units= or gain= for files that do not "
                "state them. Set implausible_amplitude='accept' to take the values as they are."
            )
