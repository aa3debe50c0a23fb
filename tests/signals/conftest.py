"""Fixtures of the reader tests: the unpacked odd records, and Python in a process of its own."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def oddities(shared, tmp_path_factory) -> Path:
    """The records that are hard to read, unpacked member by member: regular files below the target only."""
    archive = shared / "data" / "oddities" / "oddities.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    target = tmp_path_factory.mktemp("oddities").resolve()
    with tarfile.open(archive) as file:
        for member in file:
            path = (target / member.name).resolve()
            if member.isfile() and path.is_relative_to(target):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.extractfile(member).read())
    # Some archives hold the corpus's folder, some its content.
    return target / "oddities" if (target / "oddities").is_dir() else target


@pytest.fixture(scope="session")
def oddity_facts(shared) -> list[dict]:
    """What is true of each of them, and how it must come out."""
    return json.loads((shared / "data" / "oddities" / "expected.json").read_text())


@pytest.fixture
def run_python():
    """Runs code with arguments in a fresh process and gives what it prints."""

    def run(code: str, *arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run
