"""A real Chromium, driven over the pipe of its debugging protocol: no driver needed."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="Chromium is not installed: apt-get install chromium"
)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --remote-debugging-pipe"
)


class Page:
    """One tab: go somewhere, wait for what it shows, and keep what went wrong in it.

    Attributes:
        problems: Errors and warnings of its console.
        requested: Every address it asked for.
    """

    def __init__(self, commands: Any, answers: Any) -> None:
        self._commands = commands
        self._answers = answers
        self._sequence = 0
        self._session: str | None = None
        self.problems: list[str] = []
        self.requested: list[str] = []

    def attach(self) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """Carry out one command and give its result."""
        self._sequence += 1
        message = {"id": self._sequence, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._sequence:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def show(self, *, width: int, height: int, scheme: str, scale: float = 1) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 500,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)

    def value(self, expression: str) -> Any:
        """Evaluate JavaScript; a promise is awaited."""
        found = self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, *, text: str = "") -> None:
        """Press a key where the focus is."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32}
        named = {"key": key, "windowsVirtualKeyCode": codes[key]}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.send("Input.dispatchKeyEvent", type="keyUp", **named)

    def wait_for(self, expression: str, *, within_s: float = 30) -> None:
        """Wait in the page until an expression is true; fail where it never is."""
        became_true = self.value(
            "new Promise((resolve) => { const look = () => {"
            f"let seen = false; try {{ seen = Boolean({expression}); }} catch {{}}"
            "if (seen || --left < 0) resolve(seen); else setTimeout(look, 50); };"
            f"let left = {within_s * 20}; look(); }})"
        )
        assert became_true, f"never true: {expression}; problems: {self.problems}"

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def _receive(self) -> Any:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium ended"
            message += byte
        return json.loads(message)

    def forget(self) -> None:
        """Leave the page, and forget what went wrong in it."""
        self.open("about:blank")
        self.wait_for("location.href === 'about:blank'")
        self.problems.clear()
        self.requested.clear()

    def _note(self, event: Any) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.problems.append(str(params["args"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Open a tab in a Chromium of its own; there is one."""
    binary = shutil.which("chromium")
    assert binary, "Chromium is missing: apt-get install --no-install-recommends chromium"
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    # Chromium takes commands from descriptor 3 and answers on 4.
    command = f"exec {binary} {FLAGS} --user-data-dir={profile} 3<&{commands_out} 4>&{answers_in}"
    process = subprocess.Popen(
        ["bash", "-c", command],
        pass_fds=(commands_out, answers_in),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(commands_out)
    os.close(answers_in)
    with os.fdopen(commands_in, "wb") as commands, os.fdopen(answers_out, "rb") as answers:
        page = Page(commands, answers)
        try:
            page.attach()
            yield page
        finally:
            process.terminate()
            process.wait(timeout=20)
