"""A user's own folder of recordings, with or without a table of labels, as a corpus."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import CorpusError, EcgError
from ...signals.formats.folders import SUFFIXES, find_recordings, record_files
from ...signals.formats.readers import read_record_with_defaults
from ...signals.wfdb.read import read_header
from ..build import build_corpus, plan_hash
from ..checks import corpus_faults
from ..definition import CorpusDefinition, LabelSet, RecordSource
from ..label_table import LabelTable, Task, read_label_table
from ..labels import read_table
from ..layout import CorpusRecord
from .wfdb_rows import is_integer_record, wfdb_row

if TYPE_CHECKING:
    import datasets

__all__ = ["folder_definition", "load_records"]

logger = logging.getLogger(__name__)


def folder_definition(
    source: str | Path,
    table: str | Path | None = None,
    *,
    task: Task | None = None,
    read_options: Mapping[str, Any] | None = None,
) -> CorpusDefinition:
    """A folder as a corpus.

    Args:
        source: the folder; the paths of the table are relative to it.
        table: CSV with a column `record` and label columns (see `read_label_table`). Without it every recording
            in the folder is taken, with the labels of its header where it has some.
        task: kind of task of the table, see `read_label_table`; None: inferred from its cells.
        read_options: arguments of `read_record` for the files that do not state them: `sampling_rate`, `units`,
            `gain`, `leads`, `decimal`, `key`, `index`, `channels`, `allow_truncated`; and `treat_as` and
            `missing_value`, which always hold.

    Raises:
        CorpusError: folder or table cannot be used.
    """
    source = Path(source).expanduser()
    labels = None if table is None else read_label_table(table, task=task)
    options = dict(read_options or {})
    find = partial(_find, labels=labels, options=tuple(sorted((key, repr(value)) for key, value in options.items())))
    _, records = find(source, None)
    return CorpusDefinition(
        name="folder",
        title=f"recordings of the folder {source.resolve().name}",
        version="",
        license="",
        homepage="",
        citation="",
        label_system="own" if labels is not None else "as in the files",
        find=find,
        read=partial(_read, options=options),
        label_sets=partial(_label_sets, labels=labels),
        storage="int16" if not options and _all_integer(source, records) else "float32",
    )


def load_records(
    folder: str | Path,
    labels: str | Path | None = None,
    num_proc: int = 1,
    *,
    output: str | Path | None = None,
    task: Task | None = None,
    progress: bool = True,
    **read_options: Any,
) -> "datasets.Dataset":
    """A folder of recordings as a memory-mapped `datasets.Dataset`, one row per record.

    The rows are built once and cached; files that cannot be read are left out and listed with the reason in
    `refused.csv`. `ecg_transformers.load_corpus(dataset)` gives the same rows as records in mV, label matrices
    and packed arrays.

    Args:
        folder: the folder.
        labels: table of labels, see `folder_definition`.
        num_proc: number of reading processes.
        output: folder of the prepared corpus; None: in the cache of `datasets`.
        task: kind of task of the table, see `read_label_table`.
        progress: show a progress bar.
        **read_options: as `read_options` of `folder_definition`.

    Raises:
        CorpusError: the folder or the table cannot be used, or no record could be read.

    Example:
        >>> dataset = load_records("my_ecgs/", labels="labels.csv", num_proc=8)  # doctest: +SKIP
    """
    folder = Path(folder).expanduser()
    definition = folder_definition(folder, labels, task=task, read_options=read_options)
    if output is None:
        from datasets.config import HF_DATASETS_CACHE

        _, records = definition.find(folder, None)
        key = hashlib.sha256(f"{folder.resolve()} {plan_hash(definition, records)}".encode()).hexdigest()[:16]
        output = Path(HF_DATASETS_CACHE) / "ecg_transformers" / f"{folder.resolve().name}-{key}"
    path = Path(output)
    corpus = build_corpus(definition, folder, path, num_proc=num_proc, progress=progress)
    if corpus.info["refused"]:
        logger.warning(
            "%d of %d files were refused; the reasons are in %s",
            corpus.info["refused"],
            corpus.info["refused"] + len(corpus),
            path / "refused.csv",
        )
    for fault in corpus_faults(corpus):
        logger.warning("%s: %s", folder, fault)
    return corpus.dataset


def _find(
    source: Path, sampling_rate: float | None, *, labels: LabelTable | None, options: tuple[tuple[str, str], ...]
) -> tuple[Path, Sequence[RecordSource]]:
    """The records of the table in its order, or every recording below the folder by its path."""
    if not source.is_dir():
        raise CorpusError(f"{source} is not a folder; expected one with recordings. Set --source.")
    if labels is not None:
        paths = [_with_suffix(source, row.record) for row in labels.rows]
        _refuse_lost_zeros(source, next((path for path in paths if not (source / path).is_file()), ""))
        facts: Sequence[Mapping[str, Any]] = [row.facts() for row in labels.rows]
        return source, _entries(source, paths, options, facts)
    paths = [path.relative_to(source).as_posix() for path in find_recordings(source)]
    if not paths:
        raise CorpusError(f"{source} holds no recordings; looked for files that end in {', '.join(SUFFIXES)}.")
    return source, _entries(source, paths, options, [{}] * len(paths))


def _with_suffix(source: Path, record: str) -> str:
    """The path of a record, its suffix added where the table leaves it out and one file has it; else unchanged."""
    if (source / record).is_file():
        return record
    found = [f"{record}{suffix}" for suffix in SUFFIXES if (source / f"{record}{suffix}").is_file()]
    if len(found) > 1 and found[0] != f"{record}.hea":
        raise CorpusError(f"record {record} is {' or '.join(found)} in {source}; write its suffix in the table.")
    return found[0] if found else record


def _refuse_lost_zeros(source: Path, absent: str) -> None:
    """Explain a record that is not there because a spreadsheet took its name for a number."""
    folder, _, number = absent.rpartition("/")
    if not number.isdecimal():
        return
    alike = (path for path in (source / folder).glob(f"0*{number}*") if path.stem.lstrip("0") == number.lstrip("0"))
    if (found := next(alike, None)) is not None:
        raise CorpusError(
            f"record {absent} of the table is not in {source}, but {found.name} is: a spreadsheet drops leading zeros. "
            "Format the column as text and write the names in full."
        )


def _entries(
    source: Path, paths: Sequence[str], options: tuple[tuple[str, str], ...], facts: Sequence[Mapping[str, Any]]
) -> list[RecordSource]:
    """The records, each of another name: its file's, with folder and suffix where others have the same."""
    names: Sequence[str] = paths
    for short in ([Path(path).stem for path in paths], [Path(path).with_suffix("").as_posix() for path in paths]):
        if len(set(short)) == len(paths):
            names = short
            break
    rows = zip(paths, names, facts, strict=True)
    return [_entry(source, path, name, options, stated) for path, name, stated in rows]


def _entry(
    source: Path, path: str, name: str, options: tuple[tuple[str, str], ...], facts: Mapping[str, Any]
) -> RecordSource:
    """A record with the size and modification time of its files, so that an edited file is read again."""
    files = [file.stat() for file in record_files(source / path)]
    size, changed = sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0)
    # An id that does not change when files are added.
    record_id = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1
    extra = (("changed", changed), *options)
    return RecordSource(path, name, record_id, size=size, extra=extra, **facts)


def _all_integer(source: Path, records: Sequence[RecordSource]) -> bool:
    """Whether every record is WFDB of at most 16 bits; unreadable headers are refused later and ignored here."""
    for record in records:
        if not record.path.endswith(".hea"):
            return False
        try:
            if not is_integer_record(read_header(source / record.path)):
                return False
        except (EcgError, OSError):
            continue
    return True


def _read(root: Path, record: RecordSource, *, options: Mapping[str, Any]) -> CorpusRecord:
    if record.path.endswith(".hea") and not options:
        return wfdb_row(root, record)
    found = read_record_with_defaults(root / record.path, **options)
    row = CorpusRecord.from_ecg_record(found, record_id=record.record_id, fold=record.fold)
    row.name, row.source, row.targets = record.name, record.path, record.targets
    row.patient_id = record.patient_id if record.patient_id >= 0 else row.patient_id
    row.age = record.age if record.age is not None else row.age
    row.sex, row.labels = record.sex or row.sex, record.labels or row.labels
    return row


def _label_sets(codes: Iterable[str], *, labels: LabelTable | None) -> dict[str, LabelSet]:
    """The table's labels; without a table the codes of the headers, with names where they are SNOMED CT."""
    if labels is not None:
        return {} if labels.label_set is None else {"all": labels.label_set}
    names = {row["code"]: row["name"] for row in read_table("snomed")}
    codes = tuple(sorted(codes))
    system = "snomed-ct" if codes and all(code in names for code in codes) else "as in the files"
    return {"all": LabelSet(codes, tuple(names.get(code, code) for code in codes), system)} if codes else {}
