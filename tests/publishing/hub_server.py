"""A small Hub on 127.0.0.1: the endpoints that huggingface_hub calls to push and to download, in memory."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".safetensors", ".parquet")
REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Repository:
    """One repository: its visibility, its files at each commit."""

    def __init__(self, private):
        self.private = private
        self.commits = []
        self.record({}, "initial commit")

    def record(self, files, message):
        text = json.dumps([message, sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items())])
        self.commits.append((hashlib.sha1(f"{len(self.commits)}{text}".encode()).hexdigest(), files, message))
        return self.commits[-1][0]

    def at(self, revision):
        if revision == "main":
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub:
    """State of the server: repositories, uploaded blobs, and the list of requests (method, path)."""

    def __init__(self):
        self.repositories = {}
        self.blobs = {}
        self.requests = []
        self.lock = threading.Lock()
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", *, headers=(), kind="application/json", head=False):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if not head:
            self.wfile.write(data)

    def absent(self, code, head=False):
        self.answer(404, {"error": code}, headers=[("X-Error-Code", code), ("X-Error-Message", code)], head=head)

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def route(self, method):
        path = unquote(urlsplit(self.path).path)
        data = self.body()
        with self.hub.lock:
            self.hub.requests.append((method, path))
            for pattern, methods, handle in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and method in methods:
                    return handle(self, data, method == "HEAD", **match.groupdict())
            return self.absent("EntryNotFound", head=method == "HEAD")

    def do_GET(self):
        self.route("GET")

    def do_HEAD(self):
        self.route("HEAD")

    def do_POST(self):
        self.route("POST")

    def do_PUT(self):
        self.route("PUT")

    def create(self, data, head):
        wanted = json.loads(data)
        name = f"{wanted.get('organization') or 'tester'}/{wanted['name']}"
        facts = {"url": f"{self.hub.url}/{name}", "name": name, "id": name}
        if name in self.hub.repositories:
            return self.answer(409, facts | {"error": "exists"})
        private = wanted.get("private", wanted.get("visibility") == "private")
        self.hub.repositories[name] = Repository(bool(private))
        return self.answer(200, facts)

    def info(self, data, head, repo, revision="main"):
        repository = self.hub.repositories.get(repo)
        commit = repository and repository.at(revision)
        if not commit:
            return self.absent("RepoNotFound" if repository is None else "RevisionNotFound")
        siblings = [{"rfilename": name} for name in sorted(commit[1])]
        facts = {"id": repo, "modelId": repo, "sha": commit[0], "private": repository.private, "siblings": siblings}
        return self.answer(200, facts | {"tags": [], "downloads": 0, "likes": 0})

    def models(self, data, head):
        author = parse_qs(urlsplit(self.path).query)["author"][0]
        names = [name for name in self.hub.repositories if name.startswith(f"{author}/")]
        return self.answer(200, [{"id": name, "modelId": name, "tags": []} for name in names])

    def tree(self, data, head, repo, revision, folder=None):
        commit = self.hub.repositories[repo].at(revision)
        start = f"{folder}/" if folder else ""
        rows = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in sorted(commit[1].items())
            if name.startswith(start)
        ]
        if "recursive=true" not in urlsplit(self.path).query.lower():
            inner = {start + row["path"].removeprefix(start).partition("/")[0] for row in rows}
            files = {row["path"]: row for row in rows}
            rows = [files.get(path, {"type": "directory", "path": path, "oid": "0"}) for path in sorted(inner)]
        return self.answer(200, rows) if rows or not folder else self.absent("EntryNotFound")

    def paths_info(self, data, head, repo, revision):
        commit = self.hub.repositories[repo].at(revision)
        if self.headers.get_content_type() == "application/json":
            paths = json.loads(data)["paths"]
        else:
            paths = parse_qs(data.decode())["paths"]
        rows = [
            {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for name, content in commit[1].items()
            if name in paths
        ]
        return self.answer(200, rows)

    def preupload(self, data, head, repo, revision):
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
             "shouldIgnore": False}
            for file in json.loads(data)["files"]
        ]  # fmt: skip
        return self.answer(200, {"files": files})

    def lfs_batch(self, data, head, repo):
        objects = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {
                    "upload": {"href": f"{self.hub.url}/blobs/{one['oid']}"},
                    "verify": {"href": f"{self.hub.url}/verify"},
                },
            }
            for one in json.loads(data)["objects"]
        ]
        return self.answer(200, {"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")

    def blob(self, data, head, oid):
        if hashlib.sha256(data).hexdigest() != oid:
            return self.answer(400, {"error": "hash"})
        self.hub.blobs[oid] = data
        return self.answer(200)

    def accept(self, data, head):
        return self.answer(200, {"errors": [], "warnings": []})

    def commit(self, data, head, repo, revision):
        repository = self.hub.repositories[repo]
        files = dict(repository.at("main")[1])
        message = ""
        for line in data.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"], None)
        oid = repository.record(files, message)
        url = f"{self.hub.url}/{repo}/commit/{oid}"
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def resolve(self, data, head, repo, revision, file):
        repository = self.hub.repositories.get(repo)
        if repository is None:
            return self.absent("RepoNotFound", head)
        commit = repository.at(revision)
        if commit is None or file not in commit[1]:
            return self.absent("EntryNotFound" if commit else "RevisionNotFound", head)
        content = commit[1][file]
        headers = [("ETag", f'"{hashlib.sha256(content).hexdigest()}"'), ("X-Repo-Commit", commit[0])]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and not head:
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(content)}"))
            return self.answer(206, content[first : last + 1], headers=headers, kind="application/octet-stream")
        return self.answer(200, content, headers=headers, kind="application/octet-stream", head=head)


KIND = r"(?:models|datasets)"
ROUTES = [
    (r"/api/repos/create", ("POST",), Handler.create),
    (r"/api/validate-yaml", ("POST",), Handler.accept),
    (r"/api/models", ("GET",), Handler.models),
    (rf"/api/{KIND}/{REPO}", ("GET",), Handler.info),
    (rf"/api/{KIND}/{REPO}/revision/(?P<revision>\w+)", ("GET",), Handler.info),
    (rf"/api/{KIND}/{REPO}/tree/(?P<revision>\w+)(?:/(?P<folder>.*))?", ("GET",), Handler.tree),
    (rf"/api/{KIND}/{REPO}/paths-info/(?P<revision>\w+)", ("POST",), Handler.paths_info),
    (rf"/api/{KIND}/{REPO}/preupload/(?P<revision>\w+)", ("POST",), Handler.preupload),
    (rf"/api/{KIND}/{REPO}/commit/(?P<revision>\w+)", ("POST",), Handler.commit),
    (rf"/(?:datasets/)?{REPO}\.git/info/lfs/objects/batch", ("POST",), Handler.lfs_batch),
    (r"/blobs/(?P<oid>\w+)", ("PUT",), Handler.blob),
    (r"/verify", ("POST",), Handler.accept),
    (rf"/(?:datasets/)?{REPO}/resolve/(?P<revision>\w+)/(?P<file>.+)", ("GET", "HEAD"), Handler.resolve),
]


@contextmanager
def serve():
    """Runs the server on a free port until the block ends; gives its state."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
