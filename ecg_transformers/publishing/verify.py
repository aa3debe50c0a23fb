"""Verification of a published folder: files, privacy, code, contract, card, golden recording."""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import safe_open

from ..errors import CheckpointError
from ..features.agreement import check_contract
from . import clean_load
from .bundle import check_flat_source
from .card.card import check_card
from .card.pictures import shown_pictures
from .folder import CARD_FILE, CONFIG_FILE, EXTRACTOR_FILE, LICENSE_FILE, find_row, read_json, read_weights_header
from .golden import GOLDEN_FILE, GoldenReport, compare_golden, read_golden_record

__all__ = ["Verification", "check_files", "open_in_clean_process", "verify"]

REQUIRED_FILES = (CONFIG_FILE, EXTRACTOR_FILE, GOLDEN_FILE, CARD_FILE, LICENSE_FILE)
ALLOWED_FILE = re.compile(
    r"config\.json|preprocessor_config\.json|golden\.safetensors|README\.md|LICENSE|\.gitattributes|"
    r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json|[A-Za-z_]\w*\.py"
)

# A path in running text: it follows a blank, a quote or a bracket and has two folders or more.
PATH_IN_TEXT = re.compile(
    r"(?:^|[\s\"'`(=\[])((?:~|/[A-Za-z0-9_.-]+)(?:/[A-Za-z0-9_.-]+)+|[A-Za-z]:\\\w[^\s\"'`]*)", re.M
)
PATIENT_KEY = re.compile(r"patients?(_?(ids?|names?|identifiers?))?|age|sex|birth\w*|date_of_birth|mrn", re.I)

# A guard against a hang: five seconds are usual, minutes on a busy machine.
CLEAN_PROCESS_SECONDS = 900


@dataclass(frozen=True)
class Verification:
    """What was checked.

    Attributes:
        files: Names of all files of the folder.
        golden: The golden comparison; None if the folder was not opened.
        opened: Auto class to the module that it was opened from in the clean process; empty without one.
    """

    files: tuple[str, ...]
    golden: GoldenReport | None
    opened: Mapping[str, str]


def verify(
    folder: str | Path, *, results: Sequence[Mapping[str, Any]] | None = None, clean_process: bool = True
) -> Verification:
    """Checks a published folder: files, privacy, code, contract, card, golden recording.

    A folder with code is opened in a fresh process that cannot import this package; one without code, as in `hub/`,
    with the classes of this package.

    Args:
        folder: The folder.
        results: Entries of `results.json`; the scores of the card must be theirs.
        clean_process: Whether to open the folder and compare the golden recording (about five seconds).

    Raises:
        CheckpointError: At the first defect.
    """
    folder = Path(folder)
    files = check_files(folder)
    config = read_json(folder / CONFIG_FILE)
    extractor = read_json(folder / EXTRACTOR_FILE)
    read_weights_header(folder)
    read_golden_record(folder)
    _check_privacy(folder, files)
    has_code = any(name.endswith(".py") for name in files) or "auto_map" in config or "auto_map" in extractor
    if has_code:
        _check_code(folder, files, config, extractor)
    check_contract(config, extractor)
    check_card((folder / CARD_FILE).read_text(encoding="utf-8"), results)
    golden: GoldenReport | None = None
    opened: Mapping[str, str] = {}
    if clean_process and has_code:
        golden, opened = open_in_clean_process(folder)
    elif clean_process:
        golden = compare_golden(folder, find_row(folder, config).feature_extractor.from_pretrained(folder))
    if golden is not None and not golden.passed:
        raise CheckpointError(f"{folder.name}: the golden recording differs from the stored output ({golden}).")
    return Verification(tuple(files), golden, opened)


def check_files(folder: str | Path) -> list[str]:
    """Checks that a folder holds the files of a published checkpoint and nothing else.

    Args:
        folder: The folder.

    Returns:
        The file names in alphabetical order.

    Raises:
        CheckpointError: If a file is missing, of a kind that is never published, a link or a sub-folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder; expected a published checkpoint.")
    card = folder / CARD_FILE
    pictures = shown_pictures(card.read_text(encoding="utf-8")) if card.is_file() else []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            raise CheckpointError(f"{folder.name} has {path.name}, which is no file; a published folder is flat.")
        if not (ALLOWED_FILE.fullmatch(path.name) or path.name in pictures):
            raise CheckpointError(
                f"{folder.name} has {path.name}, which is never published: a checkpoint holds weights as safetensors, "
                "config, preprocessor, golden recording, card and its pictures, license and source; no pickle and no "
                "training state."
            )
    names = sorted(path.name for path in folder.iterdir())
    missing = [name for name in REQUIRED_FILES if name not in names]
    if missing:
        raise CheckpointError(f"{folder.name} lacks {', '.join(missing)}; publish the checkpoint again.")
    return names


def open_in_clean_process(folder: str | Path) -> tuple[GoldenReport, dict[str, str]]:
    """Opens the folder in a fresh process that cannot import this package, and compares the golden recording there.

    Args:
        folder: The folder, with its code.

    Returns:
        The comparison, and for each auto class the module it was opened from.

    Raises:
        CheckpointError: If a class cannot be opened; the message ends with the output of the process.
    """
    folder = Path(folder).resolve()
    golden = read_golden_record(folder)
    with tempfile.TemporaryDirectory(prefix="ecg_modules_") as modules:
        environment = os.environ | {"HF_MODULES_CACHE": modules, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", clean_load.__file__, str(folder)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=environment,
                cwd=modules,
                timeout=CLEAN_PROCESS_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(f"{folder.name} did not open within {CLEAN_PROCESS_SECONDS} s.") from error
    if done.returncode != 0 or golden is None:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(f"{folder.name} does not open from its own code in a clean process: {last}")
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    return GoldenReport(golden[0].name, answer["differences"]), answer["opened"]


def _check_privacy(folder: Path, files: Sequence[str]) -> None:
    """Refuses paths of the machine it was made on, and fields that name a patient."""
    for name in files:
        path = folder / name
        if name.endswith(".json"):
            _check_values(read_json(path), name)
        elif name.endswith(".safetensors"):
            with safe_open(str(path), framework="np") as file:
                _check_values({key: _parsed(text) for key, text in (file.metadata() or {}).items()}, name)
        elif name.endswith((".md", ".py")):
            found = PATH_IN_TEXT.search(path.read_text(encoding="utf-8"))
            if found is not None:
                raise CheckpointError(
                    f"{name} holds the path {found.group(1)}; published files name no path of a machine."
                )


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_values(value: object, place: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if PATIENT_KEY.fullmatch(str(key)):
                raise CheckpointError(f"{place} has the field {key!r}; nothing about patients is published.")
            _check_values(inner, f"{place}: {key}")
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_values(inner, place)
    elif isinstance(value, str):
        posix, windows = len(value) > 1 and PurePosixPath(value).is_absolute(), PureWindowsPath(value).is_absolute()
        if posix or windows or value.startswith(("~/", "file:")) or PATH_IN_TEXT.search(value):
            raise CheckpointError(f"{place} holds the path {value!r}; published files name no path of a machine.")


def _check_code(folder: Path, files: Sequence[str], config: Mapping[str, Any], extractor: Mapping[str, Any]) -> None:
    """Checks that every source file loads from its siblings alone and defines the classes of both `auto_map`."""
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in files if name.endswith(".py")}
    for name, text in sources.items():
        check_flat_source(name, text, sources)
    for place, values in ((CONFIG_FILE, config), (EXTRACTOR_FILE, extractor)):
        auto_map = values.get("auto_map")
        if not isinstance(auto_map, dict) or not auto_map:
            raise CheckpointError(f"{place} has no auto_map; without it the folder opens only where this package is.")
        for auto_class, reference in auto_map.items():
            module, _, name = str(reference).partition(".")
            tree = ast.parse(sources.get(f"{module}.py", ""))
            if name not in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}:
                raise CheckpointError(f"{place}: {auto_class} is {reference}, which is not defined in the folder.")
    for task, described in config.get("custom_pipelines", {}).items():
        module, _, name = str(described.get("impl")).partition(".")
        tree = ast.parse(sources.get(f"{module}.py", ""))
        if name not in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}:
            raise CheckpointError(f"{CONFIG_FILE}: the pipeline {task} is not defined in the folder; publish again.")
    for needed in ("AutoConfig", "AutoFeatureExtractor"):
        if needed not in config["auto_map"]:
            raise CheckpointError(f"{CONFIG_FILE} has no {needed} in its auto_map; publish the checkpoint again.")
    if "AutoFeatureExtractor" not in extractor["auto_map"]:
        raise CheckpointError(f"{EXTRACTOR_FILE} has no AutoFeatureExtractor in its auto_map; publish again.")
