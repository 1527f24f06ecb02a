"""A headless Chromium, controlled through its DevTools pipe.

It needs no driver and no package: the protocol is JSON over two pipes.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--headless=new",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-features=BackForwardCache",  # Pages are visited once.
    "--js-flags=--max-lazy",  # Most functions of a page are never called.
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and writes responses to 4; both may be in use here.
START = """
import fcntl, os, sys
here = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, descriptor in zip((3, 4), here):
    os.dup2(descriptor, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass
class Visit:
    """Events during the load of a page.

    Attributes:
        url: The page.
        errors: Errors of its console and its network log.
        requests: The URLs that it requested, including its own.
    """

    url: str
    errors: list = field(default_factory=list)
    requests: list = field(default_factory=list)


class Browser:
    """One tab: `visit` loads a page, `evaluate` reads from it."""

    def __init__(self, commands, responses):
        self.commands, self.responses = commands, responses
        self.number, self.session = 0, None
        self.events, self.received = deque(), b""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def visit(self, url):
        """Load a page, wait until its scripts are idle, and return the events."""
        self.events.clear()
        result = self.send("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result['errorText']}"
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()
        self.evaluate("new Promise(done => requestIdleCallback(done, {timeout: 1000}))")
        visit = Visit(url)
        for event in self.events:
            _note(visit, event["method"], event.get("params", {}))
        return visit

    def evaluate(self, script):
        """Return the value of a JavaScript expression in the page; await a promise."""
        response = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in response, response["exceptionDetails"]
        return response["result"].get("value")

    def send(self, method, **params):
        """Send a command and return its result; store events that arrive before it."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.commands.write(json.dumps(message).encode() + b"\0")
        self.commands.flush()
        while True:
            response = self._receive()
            if response.get("id") == self.number:
                assert "error" not in response, response
                return response["result"]

    def _receive(self):
        while b"\0" not in self.received:
            part = self.responses.read1()
            assert part, "Chromium has exited"
            self.received += part
        data, _, self.received = self.received.partition(b"\0")
        message = json.loads(data)
        if "method" in message:
            self.events.append(message)
        return message


def _note(visit, method, params):
    if method == "Runtime.exceptionThrown":
        details = params["exceptionDetails"]
        visit.errors.append(details.get("exception", {}).get("description", details["text"]))
    elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
        visit.errors.append(" ".join(str(arg.get("value")) for arg in params["args"]))
    elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
        visit.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
    elif method == "Network.requestWillBeSent":
        visit.requests.append(params["request"]["url"])


@contextlib.contextmanager
def chromium(profile):
    """Start a browser with an empty profile in a folder; skip the test without Chromium."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"none of {NAMES} is installed")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # It has no sandbox for root.
    options = [program, *QUIET, *sandbox, f"--user-data-dir={profile}"]
    read_command, write_command = os.pipe()
    read_response, write_response = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(read_command), str(write_response), *options],
        pass_fds=(read_command, write_response),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_command)
    os.close(write_response)
    try:
        with (
            os.fdopen(write_command, "wb") as commands,
            os.fdopen(read_response, "rb") as responses,
        ):
            yield Browser(commands, responses)
    finally:
        process.terminate()
        process.wait(timeout=30)
