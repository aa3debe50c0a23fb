"""Tables of many recordings: in order, in bounded memory, resumable.

A job is divided into parts of several hundred records. Completed parts are saved next to the table; at the end they
are joined into the table, which is written atomically, and deleted. The parts record their job (checkpoint, options,
list of records): parts of another job are not resumed. A part is made again if one of its files has changed since, or
could not be used; parts with such files are kept next to the table.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from ..errors import EcgError, RecordFileError, SignalError
from ..features.contract import POLICIES
from ..features.extractor import EcgFeatureExtractor
from ..files import write_text
from ..signals.formats.folders import SUFFIXES, find_recordings, record_files
from ..signals.formats.readers import read_record_with_defaults
from .records import PREPARING, READING, PreparedWindows, prepare_windows
from .table_files import (
    WrittenTable,
    as_table,
    finished_table,
    join_parts,
    load_pyarrow,
    open_parts,
    write_parquet,
)

__all__ = ["checkpoint_hash", "write_table"]

logger = logging.get_logger(__name__)

RECORDS_PER_PART = 512
# Arguments for files that do not state them.
_DEFAULTS = tuple(name for name in READING if name not in POLICIES)


def checkpoint_hash(model: PreTrainedModel, extractor: EcgFeatureExtractor) -> str:
    """Return a hash of weights and preprocessing, 16 hexadecimal digits.

    Args:
        model: The model.
        extractor: Its feature extractor.
    """
    digest = hashlib.sha256(extractor.contract_hash().encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes: bfloat16 has no numpy type.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def write_table(
    pipeline: Any,
    source: Any,
    output: str | Path,
    *,
    rows: Callable[[np.ndarray], dict[str, Any]],
    options: dict[str, Any],
    batch_size: int,
    overwrite: bool,
    progress: bool,
    records_per_part: int = RECORDS_PER_PART,
) -> WrittenTable:
    """Run a pipeline over records and write a table.

    Args:
        pipeline: The pipeline.
        source: A folder, or a sequence of paths, EcgRecords or mappings.
        output: Path of the table, `.parquet` or `.csv`.
        rows: Converts the pipeline's result `(rows, ...)` for a record to columns.
        options: Call arguments of the pipeline.
        batch_size: Inference batch size in windows.
        overwrite: Replace a table or parts of another job.
        progress: Show a progress bar.
        records_per_part: Records per part, which are lost at most if the job is interrupted. Default: 512.

    Raises:
        SignalError: The suffix is unknown, the batch size is no positive number, or a single record was passed.
        RecordFileError: The folder holds no recording, or none could be used.
        CheckpointError: There is a table or there are parts of another job.
    """
    output = Path(output)
    if output.suffix not in (".parquet", ".csv"):
        raise SignalError(f"output is {output.name}; expected a name that ends in .parquet or .csv.")
    if batch_size < 1:
        raise SignalError(f"batch_size is {batch_size}; expected a number of windows of at least 1.")
    load_pyarrow()
    items, names, stamps = _items(source, output)
    checkpoint = checkpoint_hash(pipeline.model, pipeline.feature_extractor)
    job = {
        "checkpoint": checkpoint,
        "options": {name: repr(value) for name, value in sorted(options.items())},
        "records": len(items),
        "names": _digest(names),
        "files": _digest(stamps),
        "records_per_part": records_per_part,
    }
    if (finished := finished_table(output, job, overwrite)) is not None:
        return finished
    folder = open_parts(output, job, overwrite)
    with logging.tqdm(total=len(items), desc=output.name, unit="record", disable=not progress) as bar:
        for number, first in enumerate(range(0, len(items), records_per_part)):
            span = range(first, min(first + records_per_part, len(items)))
            report = folder / f"part-{number:06d}.json"
            files = _digest(stamps[span.start : span.stop])
            if report.is_file() and json.loads(report.read_text()) == {"refused": [], "files": files}:
                bar.update(len(span))
                continue
            for stale in (report, report.with_suffix(".parquet")):
                stale.unlink(missing_ok=True)
            part = _Part(pipeline, items, names, span, checkpoint, advance=bar.update)
            columns = part.columns(rows, options, batch_size=batch_size)
            if columns:
                write_parquet(folder / f"part-{number:06d}.parquet", [as_table(columns)], {})
            # Written after the rows: it marks a complete part.
            write_text(report, json.dumps({"refused": part.refused, "files": files}))
    return join_parts(output, folder, job)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def _stamp(item: Any) -> str:
    """Sizes and times of the files of a record; a hash of a record in memory."""
    if not isinstance(item, str | Path):
        read = item.get if isinstance(item, Mapping) else partial(getattr, item)
        try:
            signal = np.asarray(read("signal", None if isinstance(item, Mapping) else item), dtype=np.float64)
        except (TypeError, ValueError):  # no array of numbers, which is refused later with its reason
            return ""
        facts = repr((signal.shape, read("sampling_rate", None), read("leads", None)))
        return hashlib.sha256(facts.encode() + signal.tobytes()).hexdigest()[:16]
    found = [file.stat() for file in record_files(Path(item))]
    return " ".join(f"{facts.st_size} {facts.st_mtime_ns}" for facts in found)


class _Part:
    """A part of a job."""

    def __init__(
        self,
        pipeline: Any,
        items: Sequence[Any],
        names: Sequence[str],
        span: range,
        checkpoint: str,
        *,
        advance: Callable[[], Any],
    ) -> None:
        self.pipeline, self.items, self.names, self.span = pipeline, items, names, span
        self.checkpoint, self.advance = checkpoint, advance
        self.refused: list[tuple[str, str]] = []
        self._waiting: deque[PreparedWindows] = deque()

    def columns(
        self, rows: Callable[[np.ndarray], dict[str, Any]], options: dict[str, Any], *, batch_size: int
    ) -> list[dict[str, Any]]:
        """Compute the columns of each usable record; the others are in `refused` afterwards."""
        reading = {name: value for name, value in options.items() if name in PREPARING}
        options = {name: value for name, value in options.items() if name not in PREPARING}
        columns = []
        for result in self.pipeline(self._prepared(reading), batch_size=batch_size, **options):
            prepared = self._waiting.popleft()
            result = result if options["windows"] else result[np.newaxis]
            count = len(result)
            columns.append(
                {
                    "record": [prepared.name] * count,
                    "window": np.arange(count),
                    "start": prepared.starts[:count],
                    "checkpoint": [self.checkpoint] * count,
                    "notes": ["; ".join(prepared.notes)] * count,
                    **rows(result),
                }
            )
            self.advance()
        return columns

    def _prepared(self, reading: dict[str, Any]) -> Iterator[PreparedWindows]:
        """Prepare the usable records; their names wait for the results."""
        for index in self.span:
            try:
                item, rules = self.items[index], reading
                if isinstance(item, str | Path):
                    # Of many files some state what others do not.
                    defaults = {name: reading[name] for name in _DEFAULTS if name in reading}
                    item = read_record_with_defaults(item, **defaults)
                    rules = {name: value for name, value in reading.items() if name not in _DEFAULTS}
                prepared = prepare_windows(item, self.pipeline.feature_extractor, **rules)
            except (EcgError, OSError) as error:
                self.refused.append((self.names[index], str(error)))
                self.advance()
                continue
            prepared = replace(prepared, name=self.names[index])
            self._waiting.append(prepared)
            yield prepared


def _items(source: Any, output: Path) -> tuple[Sequence[Any], list[str], list[str]]:
    """The records, their names, and what shows whether they have changed."""
    if isinstance(source, str | Path):
        folder = Path(source)
        if not folder.is_dir():
            if not (folder.is_file() or folder.with_name(f"{folder.name}.hea").is_file()):
                raise RecordFileError(
                    f"{folder} is no folder and no recording; expected one of them, or a list of paths."
                )
            return _items([source], output)
        paths = [path for path in find_recordings(folder) if path.resolve() != output.resolve()]
        if not paths:
            raise RecordFileError(f"{folder} holds no recording; looked for files that end in {', '.join(SUFFIXES)}.")
        names = [path.relative_to(folder).as_posix().removesuffix(".hea") for path in paths]
        return paths, names, [_stamp(path) for path in paths]
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")) or isinstance(source, dict | np.ndarray):
        raise SignalError(
            f"the source is {type(source).__name__}; expected a folder, or a list of paths or records: only a source "
            "with a length can be resumed."
        )
    if len(source) == 0:
        raise SignalError("the list of records is empty; expected at least one.")
    known = getattr(source, "names", None)
    if isinstance(known, list):
        return source, known, [str(getattr(source, "hash", ""))] * len(source)
    names, stamps = [], []
    for index in range(len(source)):
        item = source[index]
        names.append(_name(item, index))
        stamps.append(_stamp(item))
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            raise SignalError(
                f"the records {first[name]} and {index} of the list have the same name {name!r}; the rows of the table "
                "could not be distinguished. Give each a name of its own."
            )
    return source, names, stamps


def _name(item: Any, index: int) -> str:
    if isinstance(item, str | Path):
        return Path(item).as_posix().removesuffix(".hea")
    name = item.get("name") if isinstance(item, dict) else getattr(item, "name", None)
    return str(name) if name else str(index)
