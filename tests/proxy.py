"""A proxy between a client and the object store that does, by seed, what networks and servers do on bad days."""

import http.client
import http.server
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

REFUSALS = (429, 500, 503)
FAULTS = (*REFUSALS, "reset", "stall", "cut", "flip sent", "flip received")
STALL = 3.0  # seconds; more than the clients' patience in these tests


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to `target`; `share` of them get a fault that `seed` chooses.

    Attributes:
        seen: how often each fault was done.
        on_request: called with each request's number, from 0, while the client waits for its answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, seed: int = 0, share: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.share = target, share
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: Counter[str | int] = Counter()
        self.requests = 0
        self.on_request: Callable[[int], None] = lambda _: None
        self._chance, self._lock = random.Random(seed), threading.Lock()  # noqa: S311 - faults, not secrets
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()

    def choose(self) -> tuple[int, str | int | None, float]:
        """The number of this request, its fault, if any, and where in the body."""
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            fault = self._chance.choice(FAULTS) if self._chance.random() < self.share else None
            place = self._chance.random()
            if fault:
                self.seen[fault] += 1
        self.on_request(number)
        return number, fault, place

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that goes away is the subject of these tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        body = self._body()
        _, fault, place = self.server.choose()
        if fault in REFUSALS:
            message = json.dumps({"error": {"code": fault, "message": "not now"}}).encode()
            self._answer(int(str(fault)), [], message, len(message))
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self._pass_on(_flipped(body, place) if fault == "flip sent" else body, fault, place)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - as the library calls them

    def _pass_on(self, body: bytes, fault: str | int | None, place: float) -> None:
        there = http.client.HTTPConnection(urlsplit(self.server.target).netloc, timeout=60)
        headers = {
            key: value for key, value in self.headers.items() if key.lower() not in ("host", "transfer-encoding")
        }
        there.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        answer = there.getresponse()
        content = answer.read()
        there.close()
        if fault == "stall":
            time.sleep(STALL)
        sent = _flipped(content, place) if fault == "flip received" else content
        sent = sent[: int(place * len(sent))] if fault == "cut" else sent
        self._answer(answer.status, answer.getheaders(), sent, len(content))

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        if len(body) < length:
            self.close_connection = True

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def log_message(self, *_: object) -> None:
        pass


def _flipped(body: bytes, place: float) -> bytes:
    """`body` with one bit turned."""
    if not body:
        return body
    changed = bytearray(body)
    changed[int(place * len(body))] ^= 1
    return bytes(changed)
