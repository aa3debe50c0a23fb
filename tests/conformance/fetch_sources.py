"""Fetch Transformers' own common tests, which only the source distribution of a release holds.

`python tests/conformance/fetch_sources.py` asks the package client for the source distribution of the *installed*
version and keeps three of its files in `.cache/transformers-<version>/`. It does nothing if they are there already.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache"
FILES = ("test_modeling_common.py", "test_configuration_common.py", "test_feature_extraction_common.py")


def cached_sources() -> Path | None:
    """The folder with the test files of the installed Transformers, or None if they were never fetched."""
    folder = CACHE / f"transformers-{version('transformers')}"
    return folder if all((folder / name).is_file() for name in FILES) else None


def unpack(archive: Path, folder: Path) -> None:
    """Write the test files of a source distribution to `folder` atomically.

    Members are taken by exact name and read as bytes: no path of the archive is ever used for writing.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        fresh = Path(scratch) / "sources"
        fresh.mkdir()
        with tarfile.open(archive, "r:gz") as tar:
            for name in FILES:
                member = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/tests/{name}")
                if member is None:
                    raise KeyError(f"{archive.name} has no file tests/{name}")
                (fresh / name).write_bytes(member.read())
        fresh.rename(folder)


def fetch() -> Path:
    """Download the source distribution and unpack its tests."""
    release = version("transformers")
    folder = CACHE / f"transformers-{release}"
    command = [sys.executable, "-m", "pip", "download", f"transformers=={release}", "--quiet"]
    command += ["--no-deps", "--no-binary", ":all:"]
    if importlib.util.find_spec("setuptools"):
        # The client only needs the archive's metadata: an environment of its own for that would be downloaded first.
        command.append("--no-build-isolation")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([*command, "--dest", scratch], check=True)
        unpack(Path(scratch) / f"transformers-{release}.tar.gz", folder)
    return folder


def required() -> bool:
    """Whether the conformance tests must run (`ECG_REQUIRE_CONFORMANCE=1`) or may be skipped offline."""
    return os.environ.get("ECG_REQUIRE_CONFORMANCE", "0") not in ("", "0")


def main() -> int:
    """Fill the cache; 1 if that fails and the tests are required."""
    if cached_sources():
        return 0
    try:
        folder = fetch()
    except (subprocess.CalledProcessError, OSError, KeyError, tarfile.TarError) as error:
        print(
            f"Transformers' own tests could not be fetched ({error}). They need network access once; until then the "
            "conformance tests are skipped. With ECG_REQUIRE_CONFORMANCE=1 that is a failure.",
            file=sys.stderr,
        )
        return int(required())
    print(f"Transformers' own tests are in {folder.relative_to(CACHE.parent)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
