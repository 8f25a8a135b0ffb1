"""Drives a headless Chromium by its DevTools protocol: pages, scripts, and its own dialog for a password."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from websockets.sync.client import ClientConnection, connect

from tests.integration.ports import eventually

TIMEOUT = 60.0

_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--no-first-run", "--remote-debugging-port=0", "--ignore-certificate-errors"),
)


class Browser:
    """One Chromium with one page. ``profile`` is an empty directory of its own."""

    def __init__(self, profile: Path) -> None:
        self._ids = 0
        self._events: list[dict[str, Any]] = []
        self._asked: Callable[[dict[str, Any]], tuple[str, str] | None] = lambda _: None
        self.dialogs: list[dict[str, Any]] = []
        """What the dialog for a password was opened for: one challenge for each time."""
        self._process = subprocess.Popen(
            ["chromium", *_OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"HOME": str(profile), "PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(profile)},
        )
        self._socket: ClientConnection | None = None
        try:
            chosen = profile / "DevToolsActivePort"
            eventually(
                lambda: chosen.exists() and chosen.read_text().count("\n"), "a browser that can be driven", timeout=TIMEOUT
            )
            port, path = chosen.read_text().split("\n")[:2]
            self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=TIMEOUT)
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.call("Page.enable")
            # each request is paused, so that the dialog can be answered
            self.call("Fetch.enable", handleAuthRequests=True)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and its helpers."""
        if self._socket is not None:
            self._socket.close()
        helpers = psutil.Process(self._process.pid).children(recursive=True) if self._process.poll() is None else []
        self._process.kill()
        self._process.wait()
        for helper in helpers:
            if helper.is_running():
                helper.kill()
        psutil.wait_procs(helpers, timeout=10)

    def open(self, url: str, answer: Callable[[dict[str, Any]], tuple[str, str] | None]) -> str:
        """The text of the page at ``url``. ``answer`` is what is typed into a dialog for a challenge; None cancels it."""
        self._asked = answer
        self.call("Page.navigate", url=url)
        return self._loaded()

    def follow(self, script: str) -> str:
        """The text of the page that a script of the page at hand leads to, as by sending a form."""
        self.run(script)
        return self._loaded()

    def run(self, script: str) -> Any:
        """The value of a script's expression in the page, awaited if it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return result["result"].get("value")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method in the page's session."""
        return self._call(method, self._session, **parameters)

    # -- the protocol

    def _loaded(self) -> str:
        self._await(lambda event: event["method"] == "Page.loadEventFired")
        return str(self.run("document.body.innerText"))

    def _call(self, method: str, session: str = "", **parameters: Any) -> Any:
        number = self._send(method, session, **parameters)
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return message["result"]

    def _send(self, method: str, session: str = "", **parameters: Any) -> int:
        assert self._socket is not None
        self._ids += 1
        message = {"id": self._ids, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._ids

    def _receive(self) -> dict[str, Any]:
        assert self._socket is not None
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=TIMEOUT))
        if message.get("method") == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", self._session, requestId=message["params"]["requestId"])
        elif message.get("method") == "Fetch.authRequired":
            self._dialog(message["params"])
        elif "method" in message:
            self._events.append(message)
        return message

    def _dialog(self, asked: dict[str, Any]) -> None:
        self.dialogs.append(asked["authChallenge"])
        typed = self._asked(asked["authChallenge"])
        reply = {"response": "CancelAuth"}
        if typed is not None:
            reply = {"response": "ProvideCredentials", "username": typed[0], "password": typed[1]}
        self._send("Fetch.continueWithAuth", self._session, requestId=asked["requestId"], authChallengeResponse=reply)

    def _await(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            for event in self._events:
                if wanted(event):
                    self._events.clear()
                    return
            self._receive()
        raise AssertionError("the page was not loaded")
