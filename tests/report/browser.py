"""A headless Chromium, driven over its DevTools protocol: what a page logs, asks the network for and answers."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def visit(
    page: Path, expressions: list[str], *, width: int = 1200, dark: bool = False, shot: Path | None = None
) -> dict[str, Any]:
    """Open a file and evaluate expressions in it: {answers, errors, requests}; requests are those beside the page."""
    return asyncio.run(_visit(page, expressions, width, dark, shot))


async def _visit(page: Path, expressions: list[str], width: int, dark: bool, shot: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
        ]
        quiet = [
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
        ]
        with subprocess.Popen(
            [str(CHROMIUM), *flags, *quiet, "about:blank"], stderr=subprocess.PIPE, text=True
        ) as browser:
            try:
                address = await asyncio.to_thread(_address, browser)
                return await asyncio.wait_for(_drive(address, page, expressions, width, dark, shot), timeout=120)
            finally:
                browser.terminate()


def _address(browser: subprocess.Popen[str]) -> str:
    assert browser.stderr
    for line in browser.stderr:
        if found := re.search(r"DevTools listening on (ws://\S+)", line):
            return found[1]
    raise AssertionError("Chromium ended before it listened")


async def _drive(
    address: str, page: Path, expressions: list[str], width: int, dark: bool, shot: Path | None
) -> dict[str, Any]:
    socket = await websocket_connect(address, max_message_size=100_000_000)
    events: list[dict[str, Any]] = []
    session: dict[str, str] = {}
    sent = 0

    async def call(method: str, **params: Any) -> Any:
        nonlocal sent
        sent += 1
        await socket.write_message(json.dumps({"id": sent, "method": method, "params": params} | session))
        while True:
            message = json.loads(await socket.read_message())
            if message.get("id") == sent:
                assert "error" not in message, message
                return message["result"]
            events.append(message)

    target = (await call("Target.createTarget", url="about:blank"))["targetId"]
    session["sessionId"] = (await call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
    for domain in ("Runtime", "Log", "Network", "Page"):
        await call(f"{domain}.enable")
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    await call("Emulation.setEmulatedMedia", features=scheme)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    await call("Emulation.setDeviceMetricsOverride", **size)
    await call("Page.navigate", url=page.absolute().as_uri())
    while not any(event.get("method") == "Page.loadEventFired" for event in events):
        events.append(json.loads(await socket.read_message()))
    answers = []
    for expression in expressions:
        answer = await call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        answers.append(answer["result"].get("value"))
    if shot:
        image = await call("Page.captureScreenshot", captureBeyondViewport=True)
        shot.write_bytes(base64.b64decode(image["data"]))
    socket.close()
    faults = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    asked = [
        event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"
    ]
    return {
        "answers": answers,
        "errors": [event for event in events if event.get("method") in faults],
        "requests": [url for url in asked if url != page.absolute().as_uri()],
    }
