"""Tables and their parts on disk: Parquet and CSV, written atomically."""

import csv
import io
import itertools
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers.utils import logging

from ..errors import CheckpointError, RecordFileError
from ..files import replace_file, write_text

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "REFUSED",
    "WrittenTable",
    "as_table",
    "finished_table",
    "join_parts",
    "load_pyarrow",
    "open_parts",
    "write_parquet",
]

logger = logging.get_logger(__name__)

REFUSED = ".refused.csv"
JOB_KEY = b"ecg_transformers"


@dataclass(frozen=True)
class WrittenTable:
    """A finished table.

    Args:
        path: Path of the table.
        rows: Number of rows.
        records: Number of records requested.
        refused: Number of records that could not be used.
        refused_path: List of these with reasons, if there are any.
    """

    path: Path
    rows: int
    records: int
    refused: int
    refused_path: Path | None

    def __str__(self) -> str:
        listed = f", {self.refused} refused: {self.refused_path}" if self.refused else ""
        return f"{self.records} records, {self.rows} rows -> {self.path}{listed}"

    def read(self) -> "pyarrow.Table":
        """The table as pyarrow has it (`.to_pandas()` makes a data frame of it)."""
        arrow, parquet = load_pyarrow()
        if self.path.suffix == ".parquet":
            return parquet.read_table(self.path)
        return arrow.csv.read_csv(self.path)


def finished_table(output: Path, job: dict[str, Any], overwrite: bool) -> WrittenTable | None:
    """The table, if this very job has made it of all its records.

    Raises:
        CheckpointError: There is a table of another job.
    """
    if not output.exists() or overwrite:
        return None
    stored = _stored(output)
    if stored is None:
        raise CheckpointError(
            f"{output} exists and is not known to be this job's; expected a free name. "
            "Pass overwrite=True to replace it."
        )
    # Refused files may have been mended; parts show which files have changed.
    compared = [name for name in job if name != "files" or not stored["refused"]]
    if differ := [name for name in compared if stored["job"].get(name) != job[name]]:
        raise CheckpointError(
            f"{output} is of another job, which differs in {', '.join(differ)}; expected the same checkpoint, options, "
            "records and unchanged files. Pass overwrite=True to replace it, or another output."
        )
    if stored["refused"]:
        return None
    logger.info(f"{output} is complete.")
    shutil.rmtree(_parts_folder(output), ignore_errors=True)
    return WrittenTable(output, stored["rows"], job["records"], 0, None)


def _stored(output: Path) -> dict[str, Any] | None:
    """Job, number of rows and of refused records of a table, or None if they are not known."""
    if output.suffix == ".parquet":
        _, parquet = load_pyarrow()
        facts = parquet.read_metadata(output)
        stamp = (facts.metadata or {}).get(JOB_KEY)
        return None if stamp is None else {**json.loads(stamp), "rows": facts.num_rows}
    sheet = _job_path(output)
    stored: dict[str, Any] = json.loads(sheet.read_text()) if sheet.is_file() else {}
    return stored if stored.get("bytes") == output.stat().st_size else None


def _job_path(output: Path) -> Path:
    """Where the job of a CSV is kept, which has no place for it."""
    return output.with_name(f"{output.name}.job.json")


def open_parts(output: Path, job: dict[str, Any], overwrite: bool) -> Path:
    """Open the folder of the parts: a new one, or that of the same job, also if files have changed.

    Args:
        output: Path of the table.
        job: Description of the job.
        overwrite: Replace the parts of another job.

    Raises:
        CheckpointError: There are parts of another job.
    """
    folder = _parts_folder(output)
    sheet = folder / "job.json"
    if folder.exists() and overwrite and not (sheet.is_file() and json.loads(sheet.read_text()) == job):
        shutil.rmtree(folder)
    if sheet.is_file():
        stored = json.loads(sheet.read_text())
        if differ := [name for name in job if name != "files" and stored.get(name) != job[name]]:
            raise CheckpointError(
                f"{folder} holds parts of another job, which differs in {', '.join(differ)}; expected the same "
                "checkpoint, options and records. Pass overwrite=True to start over, or another output."
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(sheet, json.dumps(job))
    return folder


def _parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}.parts")


def join_parts(output: Path, folder: Path, job: dict[str, Any]) -> WrittenTable:
    """Join the parts into the table, list the refused records, and delete the parts unless a record was refused.

    Args:
        output: Path of the table.
        folder: Folder of the parts.
        job: Description of the job.

    Raises:
        RecordFileError: No record could be used.
    """
    _, parquet = load_pyarrow()
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("part-*.json"))]
    refused = [entry for report in reports for entry in report["refused"]]
    if refused:
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([("record", "reason"), *refused])
        write_text(refused_path(output), lines.getvalue())
    else:
        refused_path(output).unlink(missing_ok=True)
    parts = [path for path in sorted(folder.glob("part-*.parquet")) if path.with_suffix(".json").is_file()]
    if not parts:
        # The next job with other options is not held up by what came to nothing.
        shutil.rmtree(folder)
        record, reason = refused[0]
        raise RecordFileError(
            f"none of {job['records']} records could be used; all reasons are in {refused_path(output)}, the first is "
            f"of {record}: {reason}"
        )
    tables = (parquet.read_table(path) for path in parts)
    stamp = {"job": job, "refused": len(refused)}
    if output.suffix == ".parquet":
        count = write_parquet(output, tables, {JOB_KEY: json.dumps(stamp).encode()})
    else:
        count = _write_csv(output, tables)
        write_text(_job_path(output), json.dumps({**stamp, "rows": count, "bytes": output.stat().st_size}))
    if not refused:
        shutil.rmtree(folder)
    return WrittenTable(output, count, job["records"], len(refused), refused_path(output) if refused else None)


def refused_path(output: Path) -> Path:
    """Return the path of the list of refused records.

    Args:
        output: Path of the table.
    """
    return output.with_name(f"{output.stem}{REFUSED}")


def as_table(columns: list[dict[str, Any]]) -> "pyarrow.Table":
    """Concatenate the columns of many records; a two-dimensional column becomes lists of fixed length.

    Args:
        columns: Columns of each record by name.
    """
    arrow, _ = load_pyarrow()
    arrays = {}
    for name in columns[0]:
        parts = [record[name] for record in columns]
        if isinstance(parts[0], list):
            arrays[name] = arrow.array([value for part in parts for value in part])
            continue
        values = np.concatenate(parts)
        if values.ndim == 2:
            arrays[name] = arrow.FixedSizeListArray.from_arrays(arrow.array(values.ravel()), values.shape[1])
        else:
            arrays[name] = arrow.array(values)
    return arrow.table(arrays)


def write_parquet(path: Path, tables: Iterable["pyarrow.Table"], metadata: dict[bytes, bytes]) -> int:
    """Write tables one after another into one file, atomically.

    Args:
        path: Path of the file.
        tables: The tables, with the same columns.
        metadata: Metadata of the file.

    Returns:
        Number of rows.
    """
    _, parquet = load_pyarrow()
    tables, count = iter(tables), 0
    first = next(tables)
    with (
        replace_file(path) as temporary,
        parquet.ParquetWriter(temporary, first.schema.with_metadata(metadata)) as file,
    ):
        for table in itertools.chain([first], tables):
            file.write_table(table.replace_schema_metadata(metadata))
            count += len(table)
    return count


def _write_csv(path: Path, tables: Iterable["pyarrow.Table"]) -> int:
    """Write the same as CSV: one column per component of a vector, numbers in full precision."""
    count = 0
    with replace_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for table in tables:
            columns = _flat_columns(table)
            if not count:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
            count += len(table)
    return count


def _flat_columns(table: "pyarrow.Table") -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        values = table.column(name)
        if not str(values.type).startswith("fixed_size_list"):
            columns[name] = values.to_pylist()
            continue
        vectors = values.combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        # As text: the shortest digits that give the same float32 again.
        columns |= {f"{name}_{index}": vectors[:, index].astype(str).tolist() for index in range(vectors.shape[1])}
    return columns


def load_pyarrow() -> tuple[Any, Any]:
    """Import `pyarrow` and `pyarrow.parquet`; the error of a missing package names what to install."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Tables need pyarrow, which comes with datasets: pip install datasets") from error
    return pyarrow, pyarrow.parquet
