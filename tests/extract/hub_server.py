"""A Hub that refuses: a real local server that answers every request in one way, as huggingface.co would."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def refusing_hub(status: int, code: str, known: str = "") -> Iterator[str]:
    """Serve `status` with the Hub's error `code` to every request; gives the address.

    With `known`, a commit, the Hub says that every dataset has it, and refuses its files alone.
    """

    class Handler(BaseHTTPRequestHandler):
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

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
