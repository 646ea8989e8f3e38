"""A real HTTP server on the loopback: the Hugging Face Hub's protocol, downloads and uploads.

It answers the four questions that ``huggingface_hub`` asks to bring a snapshot: what a revision is
(``/api/models/ID/revision/REV``), what files it has (``/api/models/ID/tree/COMMIT``), what one file
is (``HEAD /ID/resolve/COMMIT/FILE``) and its bytes (``GET``, whole or from an offset), with the
Hub's headers and error codes. An upload makes a repository (``POST /api/repos/create``), has the
card checked (``/api/validate-yaml``), asks which way its files should go (``.../preupload/REV``:
all of them in the commit itself) and commits (``.../commit/REV``); it needs the server's token. The
server keeps a list of what was asked, and misbehaves on request.
"""

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import close_session, constants

LARGE_FILES = (".safetensors", ".bin")  # the Hub keeps these apart, under their SHA-256


class Fault(Enum):
    """How an answer can go wrong."""

    CUT = auto()  # half of the promised bytes, then the connection closes
    SHORT = auto()  # half of the file, politely, as a bad proxy gives it
    UNAVAILABLE = auto()  # 503
    FORBIDDEN = auto()  # 403
    FOREIGN = auto()  # 200 and a login page
    SILENT = auto()  # nothing at all, until the server is stopped


@dataclass(frozen=True)
class Snapshot:
    """What a repository holds at one commit."""

    commit: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Repository:
    """A model repository: its branches and tags, and who may read it.

    The Hub shows everybody what a gated repository holds, but gives its files only to those let in;
    of a private one it denies the existence. ``token`` opens either.
    """

    revisions: dict[str, Snapshot]
    gated: bool = False
    private: bool = False
    token: str | None = None

    def find_snapshot(self, revision: str) -> Snapshot | None:
        """The snapshot of a branch, a tag or a commit that one of them still names."""
        by_commit = {snapshot.commit: snapshot for snapshot in self.revisions.values()}
        return self.revisions.get(revision) or by_commit.get(revision)


@dataclass(frozen=True)
class Request:
    """One question that was asked."""

    method: str
    path: str
    token: str | None


def keep(_: str, content: bytes) -> bytes:
    """An upload is stored as it came."""
    return content


@dataclass
class HubServer:
    """The repositories served, the faults to come, and what was asked so far."""

    repositories: dict[str, Repository]
    faults: dict[str, list[Fault]] = field(default_factory=dict)  # path's last part -> next answers
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    upload_token: str = "may write"
    spoil: Callable[[str, bytes], bytes] = keep
    stopping: threading.Event = field(default_factory=threading.Event)
    _listener: "_Listener | None" = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._listener = _Listener(self)
        self.url = f"http://127.0.0.1:{self._listener.server_port}"
        self._thread = threading.Thread(
            target=self._listener.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port for good; stopping twice is fine."""
        if self._listener is None or self._thread is None:
            return
        self.stopping.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()
        self._listener = self._thread = None

    def take_fault(self, path: str) -> Fault | None:
        queue = self.faults.get(path.rsplit("/", 1)[-1], [])
        return queue.pop(0) if queue else None

    def model_requests(self) -> list[Request]:
        """What was asked about models; the client also asks for things that are no model's."""
        return [request for request in self.requests if request.path != "/api/agent-harnesses"]

    def fetched_files(self) -> list[str]:
        """The names of the files whose bytes were asked for, in order of name."""
        return sorted(
            request.path.rsplit("/", 1)[-1]
            for request in self.requests
            if request.method == "GET" and "/resolve/" in request.path
        )


@contextmanager
def serve_hub(repositories: dict[str, Repository]) -> Iterator[HubServer]:
    server = HubServer(repositories)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def client_of(server: HubServer, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """Point this process's Hub client at the server, with no token and none of the user's files."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # The client reads HF_ENDPOINT and its kin once, when it is imported.
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "no-token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "agent_harnesses.json"))
    close_session()
    try:
        yield
    finally:
        close_session()


class _Listener(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for every answer under way

    def __init__(self, hub: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where the client hung up, which some tests want; the default prints it."""


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        hub = self.server.hub
        hub.requests.append(Request(self.command, path, token))
        fault = hub.take_fault(path) if self.command == "GET" else None
        try:
            if fault is Fault.UNAVAILABLE:
                raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, None, "down")
            if fault is Fault.FORBIDDEN:
                raise _RefusedError(HTTPStatus.FORBIDDEN, None, "forbidden")
            if fault is Fault.SILENT:
                hub.stopping.wait()
                self.close_connection = True
            elif fault is Fault.FOREIGN:
                self._send(b"<html>Please log in</html>", {"Content-Type": "text/html"})
            else:
                self._route([unquote(part) for part in path.strip("/").split("/")], token, fault)
        except _RefusedError as refusal:
            headers = {"X-Error-Message": str(refusal)}
            if refusal.code is not None:
                headers["X-Error-Code"] = refusal.code
            self._send(json.dumps({"error": str(refusal)}).encode(), headers, status=refusal.status)

    def _route(self, parts: list[str], token: str | None, fault: Fault | None) -> None:
        match parts:
            case ["api", "repos", "create"]:
                self._create(json.loads(self._read_body()), token)
            case ["api", "validate-yaml"]:  # the card's front matter
                self._read_body()
                self._send_json({"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                files = json.loads(self._read_body())["files"]
                answer = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in files
                ]
                self._send_json({"files": answer})
            case ["api", "models", owner, name, "commit", revision]:
                self._commit(f"{owner}/{name}", revision, token)
            case ["api", "models", owner, name, *branch] if branch[:1] in ([], ["revision"]):
                model = f"{owner}/{name}"
                snapshot = self._find_snapshot(model, branch[1] if branch else "main", token)
                repository = self.server.hub.repositories[model]
                self._send_json(_describe(model, repository, snapshot))
            case ["api", "models", owner, name, "tree", revision]:
                snapshot = self._find_snapshot(f"{owner}/{name}", revision, token)
                self._send_json([_describe_file(*item) for item in snapshot.files.items()])
            case [owner, name, "resolve", revision, *filename]:
                snapshot = self._find_snapshot(f"{owner}/{name}", revision, token)
                repository = self.server.hub.repositories[f"{owner}/{name}"]
                if repository.gated and token != repository.token:
                    raise _RefusedError(HTTPStatus.UNAUTHORIZED, "GatedRepo", "gated")
                self._send_file(snapshot, "/".join(filename), fault)
            case _:
                raise _RefusedError(HTTPStatus.NOT_FOUND, None, "no such page")

    def _read_body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""  # in chunks, each after its length
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _check_token(self, token: str | None) -> None:
        if token != self.server.hub.upload_token:
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, None, "Invalid username or password.")

    def _create(self, wanted: dict[str, Any], token: str | None) -> None:
        self._check_token(token)
        model = f"{wanted['organization']}/{wanted['name']}"
        hub = self.server.hub
        repository = Repository(
            {"main": Snapshot("0" * 40, {".gitattributes": b""})},
            private=wanted.get("visibility") == "private",
            token=token,
        )
        hub.repositories.setdefault(model, repository)
        self._send_json({"url": f"{hub.url}/{model}", "id": model, "name": model})

    def _commit(self, model: str, revision: str, token: str | None) -> None:
        self._check_token(token)
        hub = self.server.hub
        lines = [json.loads(line) for line in self._read_body().splitlines()]
        files = dict(hub.repositories[model].revisions[revision].files)
        for line in lines:
            path = line["value"].get("path")
            if line["key"] == "deletedFile":
                del files[path]
            if line["key"] == "file":
                files[path] = hub.spoil(path, base64.b64decode(line["value"]["content"]))
        contents = b"".join(files[name] for name in sorted(files))
        commit = hashlib.sha1(contents, usedforsecurity=False).hexdigest()
        hub.repositories[model].revisions[revision] = Snapshot(commit, files)
        url = f"{hub.url}/{model}/commit/{commit}"
        self._send_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _find_snapshot(self, model: str, revision: str, token: str | None) -> Snapshot:
        repository = self.server.hub.repositories.get(model)
        if repository is None or (repository.private and token != repository.token):
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Repository not found")
        snapshot = repository.find_snapshot(revision)
        if snapshot is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "RevisionNotFound", "Invalid rev id")
        return snapshot

    def _send_file(self, snapshot: Snapshot, filename: str, fault: Fault | None) -> None:
        content = snapshot.files.get(filename)
        if content is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        headers = {
            "ETag": f'"{_identify(filename, content)}"',
            "X-Repo-Commit": snapshot.commit,
            "X-Linked-Size": str(len(content)),
            "Accept-Ranges": "bytes",
        }
        if filename.endswith(LARGE_FILES):
            headers["X-Linked-Etag"] = headers["ETag"]
        if fault is Fault.SHORT:
            content = content[: len(content) // 2]
        start = self._read_range_start()
        if start is None:
            self._send(content, headers, cut=fault is Fault.CUT)
            return
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], headers, status=HTTPStatus.PARTIAL_CONTENT)

    def _read_range_start(self) -> int | None:
        requested = self.headers.get("Range")
        return None if requested is None else int(requested.removeprefix("bytes=").rstrip("-"))

    def _send_json(self, value: object) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        status: HTTPStatus = HTTPStatus.OK,
        cut: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        # One answer per connection: once the server is stopped, nothing lingers that still answers.
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
        if cut:
            self.connection.shutdown(socket.SHUT_RDWR)


def _describe(model: str, repository: Repository, snapshot: Snapshot) -> dict[str, object]:
    return {
        "id": model,
        "modelId": model,
        "sha": snapshot.commit,
        "private": repository.private,
        "siblings": [{"rfilename": name} for name in snapshot.files],
    }


def _describe_file(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": _identify_blob(content),
    }
    if name.endswith(LARGE_FILES):
        entry["lfs"] = {"oid": _identify(name, content), "size": len(content), "pointerSize": 134}
    return entry


def _identify(name: str, content: bytes) -> str:
    if name.endswith(LARGE_FILES):
        return hashlib.sha256(content).hexdigest()
    return _identify_blob(content)


def _identify_blob(content: bytes) -> str:
    """Git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
