"""A Hub on this machine: one that refuses every request in one way, as huggingface.co would, and one with datasets."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class _Silent(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _serving(handler: type[_Silent]) -> Iterator[str]:
    """Serve on a port of this machine; gives the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def refusing_hub(status: int, code: str, known: str = "") -> Iterator[str]:
    """Serve `status` with the Hub's error `code` to every request; gives the address.

    With `known`, a commit, the Hub says that every dataset has it, and refuses its files alone.
    """

    class Handler(_Silent):
        def do_GET(self) -> None:
            if known and self.path.startswith("/api/datasets/") and "/revision/" in self.path:
                body = json.dumps({"id": "allenai/c4", "sha": known, "siblings": []}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the server's name for it

    with _serving(Handler) as address:
        yield address


class Hub:
    """A stand-in for the Hub: datasets with commits and branches, behind the routes that its libraries ask.

    Attributes:
        address: for HF_ENDPOINT.
        requests: a line for each request, with its method.
        headers: the headers of the latest request for a file, by names in lower case.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}  # by dataset and commit: content by path
        self.branches: dict[str, dict[str, str]] = {}
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}

    def commit(self, dataset: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put a commit with these files on a branch."""
        commits = self.commits.setdefault(dataset, {})
        name = hashlib.sha1(f"{dataset} {len(commits)}".encode(), usedforsecurity=False).hexdigest()
        commits[name] = files
        self.branches.setdefault(dataset, {})[branch] = name
        return name

    def answer(self, method: str, path: str, span: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a request."""
        asked = urlsplit(path)
        parts = [unquote(part) for part in asked.path.strip("/").split("/")]
        if parts[0] != "datasets" and parts[:2] != ["api", "datasets"]:
            return 404, {}, b""
        if parts[:2] == ["api", "datasets"]:
            dataset, rest = "/".join(parts[2:4]), parts[4:]
            kind, revision, inside = (rest or ["revision"])[0], *_revision(rest[1:] or ["main"])
        else:
            dataset, kind, (revision, inside) = "/".join(parts[1:3]), parts[3], _revision(parts[4:])
        if dataset not in self.commits:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.branches[dataset].get(revision, revision)
        files = self.commits[dataset].get(commit)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps({"id": dataset, "sha": commit, "siblings": siblings}).encode()
        if kind == "tree":
            found = _tree(files, f"{inside}/" if inside else "", "recursive=true" in asked.query.lower())
            return (200, {}, json.dumps(found).encode()) if found else (404, {"X-Error-Code": "EntryNotFound"}, b"")
        if kind == "resolve" and inside in files:
            return self._file(files[inside], commit, span, method)
        return 404, {"X-Error-Code": "EntryNotFound"}, b""

    def _file(self, content: bytes, commit: str, span: str | None, method: str) -> tuple[int, dict[str, str], bytes]:
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        if span is None or method == "HEAD":
            return 200, headers, content
        start, end = (int(part) for part in span.removeprefix("bytes=").split("-"))
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return 206, headers, content[start : end + 1]


def _as_of_datasets(path: str) -> str:
    """The route of a dataset for one of a model, which has no word for its kind before a file's."""
    return path.replace("/api/models/", "/api/datasets/") if "/api/" in path else f"/datasets{path}"


def _revision(parts: list[str]) -> tuple[str, str]:
    """The revision and the path behind it; a branch such as refs/convert/parquet has slashes of its own."""
    size = 3 if parts[:1] == ["refs"] else 1
    return "/".join(parts[:size]), "/".join(parts[size:])


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    inside = {name: content for name, content in files.items() if name.startswith(folder)}
    if recursive:
        return [_entry(*file) for file in inside.items()]
    folders = {name.removeprefix(folder).partition("/")[0] for name in inside if "/" in name.removeprefix(folder)}
    found = [{"type": "directory", "path": f"{folder}{name}", "size": 0, "oid": "0" * 40} for name in sorted(folders)]
    return found + [_entry(*file) for file in inside.items() if "/" not in file[0].removeprefix(folder)]


def _entry(name: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith(".parquet"):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def serving_hub(*, models: bool = False) -> Iterator[tuple[Hub, str]]:
    """Serve a stand-in for the Hub, of datasets or of models; gives it and its address."""
    hub = Hub()

    class Handler(_Silent):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            hub.requests.append(f"{self.command} {self.path}")
            asked = _as_of_datasets(self.path) if models else self.path
            status, headers, body = hub.answer(self.command, asked, self.headers.get("Range"))
            if "/resolve/" in self.path:
                hub.headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815 - the server's names for it

    with _serving(Handler) as address:
        yield hub, address
