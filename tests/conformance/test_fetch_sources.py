"""The cache of the library's tests: filled atomically, skipped loudly, required on demand."""

import io
import subprocess
import tarfile
from importlib.metadata import version

import pytest

from . import fetch_sources, library_suite


def archive(folder, names):
    """A source distribution with the given members."""
    path = folder / "transformers-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            content = f"# {name}".encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_only_the_wanted_files_are_taken(tmp_path):
    wanted = [f"transformers-1.0/tests/{name}" for name in fetch_sources.FILES]
    path = archive(tmp_path, [*wanted, "transformers-1.0/setup.py", "../../evil.py"])
    fetch_sources.unpack(path, tmp_path / "cache" / "sources")
    assert {file.name for file in (tmp_path / "cache").rglob("*.py")} == set(fetch_sources.FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "transformers-1.0.tar.gz"]


def test_an_archive_that_lacks_a_file_leaves_nothing(tmp_path):
    path = archive(tmp_path, [f"transformers-1.0/tests/{fetch_sources.FILES[0]}"])
    with pytest.raises(KeyError):
        fetch_sources.unpack(path, tmp_path / "cache" / "sources")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("required", "code"), [("", 0), ("0", 0), ("1", 1)])
def test_without_network_the_command_says_what_that_means(tmp_path, monkeypatch, capsys, required, code):
    def offline(command, check):
        raise subprocess.CalledProcessError(1, command[:4])

    monkeypatch.setattr(fetch_sources, "CACHE", tmp_path)
    monkeypatch.setattr(fetch_sources.subprocess, "run", offline)
    monkeypatch.setenv("ECG_REQUIRE_CONFORMANCE", required)
    assert fetch_sources.main() == code
    assert "skipped" in capsys.readouterr().err


def test_an_empty_cache_skips_with_a_loud_line_or_fails_where_the_suite_is_required(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_sources, "CACHE", tmp_path)
    monkeypatch.setenv("ECG_REQUIRE_CONFORMANCE", "")
    with pytest.warns(UserWarning, match="CONFORMANCE NOT TESTED"), pytest.raises(pytest.skip.Exception):
        library_suite.load_library_suite()
    monkeypatch.setenv("ECG_REQUIRE_CONFORMANCE", "1")
    with pytest.raises(pytest.fail.Exception, match=version("transformers")):
        library_suite.load_library_suite()
