"""Downloads through the official client from a local server; lists of files that leave the target are refused."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from ecg_transformers.corpora import corpus_definition
from ecg_transformers.corpora.build import build_corpus
from ecg_transformers.corpora.definition import PhysioNetProject
from ecg_transformers.corpora.sources.download import check_manifest, download_corpus
from ecg_transformers.errors import CorpusError

pytest.importorskip("physionet", reason="the extra [download] is not installed")


@pytest.fixture
def server(data_dir):
    """A server with PhysioNet's interface and a small MIT-BIH; it has the dicts `files` and `asked`."""
    files = {f"/files/mitdb/1.0.0/{path.name}": path.read_bytes() for path in (data_dir / "mitdb").glob("100.*")}
    files["/files/mitdb/1.0.0/102-0.atr"] = b"not asked for: it does not match"
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name.rpartition('/')[2]}\n" for name, data in files.items())
    files["/files/mitdb/1.0.0/SHA256SUMS.txt"] = sums.encode()
    version = {"slug": "mitdb", "title": "MIT-BIH", "version": "1.0.0", "abstract": "", "citation": ""}
    files["/api/v1/projects/mitdb/versions/"] = json.dumps([version]).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            web.asked.append(self.path)
            data = web.files.get(self.path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.files, web.asked = files, []
    web.address = f"http://127.0.0.1:{web.server_port}"
    Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


def test_a_corpus_is_fetched_verified_prepared_and_not_fetched_twice(server, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    definition = corpus_definition("mitdb")
    root = download_corpus(definition, tmp_path / "source", base_url=server.address)
    assert root == tmp_path / "source" / "mitdb-1.0.0"
    assert sorted(path.name for path in root.iterdir()) == ["100.atr", "100.dat", "100.hea", "102-0.atr"]
    assert len(build_corpus(definition, tmp_path / "source", tmp_path / "out", progress=False)) == 1
    server.asked.clear()
    (root / "100.dat").write_bytes((root / "100.dat").read_bytes()[:1000])
    download_corpus(definition, tmp_path / "source", base_url=server.address)
    assert [path for path in server.asked if path.endswith((".dat", ".hea", ".atr"))] == ["/files/mitdb/1.0.0/100.dat"]

    server.files["/files/mitdb/1.0.0/100.dat"] = b"other bytes"
    (root / "100.dat").unlink()
    with pytest.raises(
        CorpusError, match=r"1 files of mitdb could not be fetched \(100.dat .*Run the same command again"
    ):
        download_corpus(definition, tmp_path / "source", base_url=server.address)
    assert not (root / "100.dat").exists()

    server.files["/files/mitdb/1.0.0/SHA256SUMS.txt"] = b"0" * 64 + b"  ../../evil.hea\n"
    server.asked.clear()
    with pytest.raises(CorpusError, match="leaves the target folder; nothing was fetched"):
        download_corpus(definition, tmp_path / "source", base_url=server.address)
    assert server.asked == ["/files/mitdb/1.0.0/SHA256SUMS.txt"]
    del server.files["/files/mitdb/1.0.0/SHA256SUMS.txt"]
    with pytest.raises(CorpusError, match="could not be fetched from"):
        download_corpus(definition, tmp_path / "source", base_url=server.address)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "..", "a/..", "C:/x", "C:x", "a\\..\\x", "~/x", "~root/x", "a\0b"]
)
def test_paths_that_leave_the_target_are_refused(path):
    with pytest.raises(CorpusError, match=r"line 2: .*leaves the target folder"):
        check_manifest("0" * 64 + " good/name..dat\n" + "1" * 64 + f"  {path}\n", "SHA256SUMS.txt")


def test_a_list_of_another_form_is_refused():
    assert check_manifest("\n" + "a" * 64 + "  records100/00000/00001_lr.dat\n", "sums") == [
        "records100/00000/00001_lr.dat"
    ]
    with pytest.raises(CorpusError, match="expected a SHA-256 sum and a path"):
        check_manifest("<html>not found</html>", "sums")


def test_what_is_not_on_physionet_cannot_be_downloaded(tmp_path):
    from ecg_transformers.corpora.sources.synthetic import synthetic_definition

    with pytest.raises(CorpusError, match="leave out --download"):
        download_corpus(synthetic_definition(10), tmp_path)


def test_ptbxl_asks_only_for_the_files_of_a_rate():
    project = corpus_definition("ptbxl").physionet
    assert isinstance(project, PhysioNetProject)
    assert "records{rate}/*" in project.include
