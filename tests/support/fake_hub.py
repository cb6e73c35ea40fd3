"""A hub in small: an HTTP server on this machine that speaks what huggingface_hub asks of the real one, and can fail.

Releases are uploaded to it and downloaded from it. It keeps commits, branches and large files as the hub does, refuses
what the hub refuses (no token, another's repository, a commit on top of an old one, a large file that was never sent),
and writes down every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_teaware"
NAMESPACE = "teaware"  # the only one that the token may write to
GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
_LARGE = (".safetensors", ".gguf")


@dataclass(frozen=True)
class Entry:
    """A file of a commit; large ones are kept by their sha256."""

    data: bytes
    large: bool

    @property
    def blob(self) -> str:
        """Git's own sum; of a large file, that of what stands for it in git."""
        data = self.pointer if self.large else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def pointer(self) -> bytes:
        return b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (
            hashlib.sha256(self.data).hexdigest().encode(),
            len(self.data),
        )


@dataclass
class Repository:
    """Its commits, oldest first, by id; what each branch points to."""

    private: bool
    commits: dict[str, dict[str, Entry]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, Entry]) -> str:
        text = f"{len(self.commits)} {branch} {sorted((name, entry.blob) for name, entry in files.items())}"
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name] = files
        self.parents[name] = self.branches.get(branch)
        self.branches[branch] = name
        return name

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """What the branch holds, the hub's own file apart."""
        files = self.commits[self.branches[branch]]
        return {name: entry.data for name, entry in files.items() if name != ".gitattributes"}


@dataclass
class Fault:
    """What goes wrong with requests that match: from the `first` one (counted from 1), `times` times.

    `status` is answered instead of doing anything; 0 breaks the connection in the middle of the request's body, -1
    does what was asked and closes the connection in the middle of the answer.
    """

    method: str
    path: str
    status: int
    first: int = 1
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "as the test wants it"}'
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if method != self.method or not re.search(self.path, path):
            return False
        self.seen += 1
        return self.first <= self.seen < self.first + self.times


class RefusalError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.code = status, code


def is_login(headers: Any) -> bool:
    """Whether a request brings the token."""
    return bool(headers.get("Authorization") == f"Bearer {TOKEN}")


def nothing(method: str, path: str) -> None:
    """Lets a request pass."""


class FakeHub:
    """The hub's state, and what the test wants to go wrong."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.before: Callable[[str, str], None] = nothing  # called with each request before it is answered
        self.lock = threading.Lock()

    def fail(self, method: str, path: str, status: int, **changes: Any) -> Fault:
        """From now on, requests like this fail as `Fault` says."""
        fault = Fault(method, path, status, **changes)
        self.faults.append(fault)
        return fault

    def add(self, name: str, files: Mapping[str, bytes] | None = None, *, private: bool = False) -> Repository:
        """A repository that is there already, with one commit more than a new one has if there are files."""
        repository = self.repositories[name] = Repository(private)
        repository.commit("main", {".gitattributes": Entry(GITATTRIBUTES, large=False)})
        if files:
            entries = {file: Entry(data, file.endswith(_LARGE)) for file, data in files.items()}
            self.large |= {hashlib.sha256(data).hexdigest(): data for data in files.values()}
            repository.commit("main", repository.commits[repository.branches["main"]] | entries)
        return repository

    def count(self, method: str, path: str) -> int:
        """How many requests like this came."""
        return sum(asked == method and bool(re.search(path, where)) for asked, where in self.requests)

    def blobs_sent(self) -> Counter[str]:
        """How often each large file was asked to be taken."""
        return Counter(
            path.removeprefix("/large/") for method, path in self.requests if method == "PUT" and "/large/" in path
        )

    # What the hub answers

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Any:  # noqa: PLR0911, PLR0912
        """The JSON of the answer."""
        if match := re.fullmatch(r"/large/([0-9a-f]{64})", path):  # signed addresses: no token
            return self.take(match[1], body)
        parts = [unquote(part) for part in path.split("/")[1:]]
        logged_in = is_login(headers)
        if parts[:2] == ["api", "datasets"]:  # as those of a model; they may share no name here
            parts[1] = "models"
        match [method, *parts]:
            case ["POST", "api", "validate-yaml"]:
                return self.validate(json.loads(body)["content"])
            case ["POST", "api", "repos", "create"]:
                self.must_write(logged_in, NAMESPACE)
                return self.create(json.loads(body))
            case ["GET", "api", "models", owner, name]:
                return self.info(self.find(owner, name, logged_in), f"{owner}/{name}", "main")
            case ["GET", "api", "models", owner, name, "revision", revision]:
                return self.info(self.find(owner, name, logged_in), f"{owner}/{name}", revision)
            case ["GET", "api", "models", owner, name, "tree", revision]:
                return self.tree(self.find(owner, name, logged_in), revision)
            case ["GET", "api", "models", owner, name, "refs"]:
                return self.refs(self.find(owner, name, logged_in))
            case ["GET", "api", "models", owner, name, "commits", revision]:
                return self.history(self.find(owner, name, logged_in), revision)
        self.must_write(logged_in, parts[2] if parts[0] == "api" else parts[0])
        match [method, *parts]:
            case ["POST", "api", "models", owner, name, "preupload", revision]:
                return self.preupload(self.find(owner, name, logged_in), revision, json.loads(body))
            case ["POST", owner, name, "info", "lfs", "objects", "batch"]:
                return self.batch(json.loads(body))
            case ["POST", "api", "models", owner, name, "commit", branch]:
                return self.commit(self.find(owner, name, logged_in), f"{owner}/{name}", branch, body)
            case ["POST", "api", "models", owner, name, "branch", branch]:
                repository = self.find(owner, name, logged_in)
                if branch in repository.branches:
                    raise RefusalError(409, "Reference already exists")
                repository.branches[branch] = json.loads(body)["startingPoint"]
                return {}
            case ["DELETE", "api", "models", owner, name, "branch", branch]:
                del self.find(owner, name, logged_in).branches[branch]
                return {}
            case ["PUT", "api", "models", owner, name, "settings"]:
                self.find(owner, name, logged_in).private = json.loads(body)["visibility"] == "private"
                return {}
        raise RefusalError(404, f"no such place: {method} {path}")

    def download(self, path: str, logged_in: bool) -> tuple[str, Entry] | None:
        """The commit and the file that the address of a download names; None for other addresses."""
        match [unquote(part) for part in path.removeprefix("/datasets").split("/")[1:]]:
            case [owner, name, "resolve", revision, *parts]:
                repository = self.find(owner, name, logged_in)
                commit = self.at(repository, revision)
                if "/".join(parts) not in repository.commits[commit]:
                    raise RefusalError(404, "Entry not found", "EntryNotFound")
                return commit, repository.commits[commit]["/".join(parts)]
        return None

    def must_write(self, logged_in: bool, owner: str) -> None:
        if not logged_in:
            raise RefusalError(401, "Invalid username or password.")
        if owner != NAMESPACE:
            raise RefusalError(403, "You don't have the rights to do that here.")

    def find(self, owner: str, name: str, logged_in: bool) -> Repository:
        repository = self.repositories.get(f"{owner}/{name}".removesuffix(".git"))
        if repository is None or (repository.private and not (logged_in and owner == NAMESPACE)):
            # The hub does not tell strangers what there is.
            raise RefusalError(404 if logged_in else 401, "Repository not found", "RepoNotFound")
        return repository

    def at(self, repository: Repository, revision: str) -> str:
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            raise RefusalError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def create(self, asked: dict[str, Any]) -> Any:
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != NAMESPACE:
            raise RefusalError(403, "You don't have the rights to create a model under that namespace.")
        if name in self.repositories:
            raise RefusalError(409, "You already created this model repo")
        self.add(name, private=asked.get("visibility") == "private")
        return {"url": f"{self.endpoint}/{name}"}

    def info(self, repository: Repository, name: str, revision: str) -> Any:
        commit = self.at(repository, revision)
        siblings = [{"rfilename": file} for file in repository.commits[commit]]
        return {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}

    def tree(self, repository: Repository, revision: str) -> Any:
        files = repository.commits[self.at(repository, revision)]
        folders = {name.rsplit("/", 1)[0] for name in files if "/" in name}
        return [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)] + [
            {"type": "file", "path": name, "oid": entry.blob, "size": len(entry.data)}
            | (
                {
                    "lfs": {
                        "oid": hashlib.sha256(entry.data).hexdigest(),
                        "size": len(entry.data),
                        "pointerSize": len(entry.pointer),
                    }
                }
                if entry.large
                else {}
            )
            for name, entry in sorted(files.items())
        ]

    def refs(self, repository: Repository) -> Any:
        def listed(kind: str, refs: Mapping[str, str]) -> list[dict[str, str]]:
            return [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": ref} for name, ref in refs.items()]

        branches, tags = listed("heads", repository.branches), listed("tags", repository.tags)
        return {"branches": branches, "converts": [], "tags": tags, "pullRequests": []}

    def history(self, repository: Repository, revision: str) -> Any:
        commit: str | None = self.at(repository, revision)
        commits = []
        while commit is not None:
            date = "2025-01-01T00:00:00.000Z"
            commits.append({"id": commit, "title": "", "message": "", "date": date, "authors": []})
            commit = repository.parents[commit]
        return commits

    def validate(self, card: str) -> Any:
        if "license: nonsense" in card:
            raise RefusalError(400, '"license" must be one of [apache-2.0, …]')
        return {"errors": [], "warnings": []}

    def preupload(self, repository: Repository, revision: str, asked: dict[str, Any]) -> Any:
        files = repository.commits[self.at(repository, revision)]
        ignored = files[".gitignore"].data.decode() if ".gitignore" in files else ""
        ignored = asked.get("gitIgnore", ignored)

        def described(name: str) -> dict[str, Any]:
            there = files.get(name)
            sums = {"oid": hashlib.sha256(there.data).hexdigest() if there.large else there.blob} if there else {}
            mode = "lfs" if name.endswith(_LARGE) else "regular"
            return {"path": name, "uploadMode": mode, "shouldIgnore": name in ignored.split(), **sums}

        return {"files": [described(file["path"]) for file in asked["files"]]}

    def batch(self, asked: dict[str, Any]) -> Any:
        return {
            "transfer": "basic",
            "objects": [
                {"oid": one["oid"], "size": one["size"]}
                | (
                    {}
                    if one["oid"] in self.large
                    else {"actions": {"upload": {"href": f"{self.endpoint}/large/{one['oid']}"}}}
                )
                for one in asked["objects"]
            ],
        }

    def take(self, oid: str, data: bytes) -> Any:
        if hashlib.sha256(data).hexdigest() != oid:
            raise RefusalError(400, "the content has another sha256")
        self.large[oid] = data
        return {}

    def commit(self, repository: Repository, name: str, branch: str, body: bytes) -> Any:
        lines = [json.loads(line) for line in body.splitlines()]
        if lines[0]["value"].get("parentCommit", self.at(repository, branch)) != self.at(repository, branch):
            raise RefusalError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[self.at(repository, branch)])
        for line in lines[1:]:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = Entry(base64.b64decode(value["content"]), large=False)
                case "lfsFile":
                    if value["oid"] not in self.large:
                        raise RefusalError(400, f"{value['path']} was never sent")
                    files[value["path"]] = Entry(self.large[value["oid"]], large=True)
                case "deletedFile":
                    del files[value["path"]]
        commit = repository.commit(branch, files)
        return {"commitUrl": f"{self.endpoint}/{name}/commit/{commit}", "commitOid": commit}


class Handler(BaseHTTPRequestHandler):
    """One connection; the server's `hub` has the state."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for the other side to acknowledge its head

    def do(self) -> None:
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        where = urlsplit(self.path).path
        with hub.lock:
            hub.requests.append((self.command, where))
            fault = next((fault for fault in hub.faults if fault.strikes(self.command, where)), None)
        hub.before(self.command, where)
        if fault is not None and fault.status == 0:
            self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self.break_off()
            return
        body = self.body()
        if fault is not None and fault.status > 0:
            self.reply(fault.status, fault.body, fault.headers)
            return
        headers: dict[str, str] = {}
        try:
            with hub.lock:
                found = hub.download(where, is_login(self.headers))
                answer = None if found else hub.answer(self.command, where, self.headers, body)
            payload, status = json.dumps(answer).encode(), 200
            if found:
                commit, entry = found
                payload, sum_ = entry.data, hashlib.sha256(entry.data).hexdigest() if entry.large else entry.blob
                headers = {"X-Repo-Commit": commit, "ETag": f'"{sum_}"'}
                if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                    start, status = int(asked[1]), 206
                    headers["Content-Range"] = f"bytes {start}-{len(payload) - 1}/{len(payload)}"
                    payload = payload[start:]
        except RefusalError as refusal:
            answer = {"error": str(refusal), "errors": [{"message": str(refusal)}]}
            payload, status = json.dumps(answer).encode(), refusal.status
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
        self.reply(status, payload, headers, half=fault is not None)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do  # noqa: N815

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def reply(self, status: int, body: bytes, headers: Mapping[str, str], *, half: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if half else body)
        if half:
            self.close_connection = True  # in good order, but early

    def break_off(self) -> None:
        # Closed with unread or unsent bytes and no lingering, which the other side sees as a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Nothing: tests read `requests`."""


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that listens while open."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.hub = hub  # type: ignore[attr-defined]
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
