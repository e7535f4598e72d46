# SPDX-License-Identifier: Apache-2.0
"""Open pages in a headless Chromium, over its debugging pipe, and report what it says about them."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe")  # fmt: skip
FACTS = """({
  images: [...document.images].map(i => i.complete && i.naturalWidth > 0),
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
})"""


def find_browser():
    """Return the path of a Chromium, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """A headless browser with one page; use it as a context."""

    def __init__(self, path, profile, seconds=30):
        self.deadline = time.monotonic() + seconds
        self.events = []
        self._count = 0
        self._rest = b""
        orders, self._out = os.pipe()
        self._in, answers = os.pipe()
        shell = f'exec "$0" "$@" 3<&{orders} 4>&{answers}'
        command = ["bash", "-c", shell, path, *FLAGS, f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(orders, answers), start_new_session=True, **quiet)
        os.close(orders)
        os.close(answers)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def call(self, method, **params):
        """Send a command and return its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path, scheme, width=1200):
        """Open a file in a colour scheme; return what the page is, what it asked for and what was complained about."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())
        facts = self.call("Runtime.evaluate", expression=FACTS, returnByValue=True)["result"]["value"]
        asked = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        complaints = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed")
        return {**facts, "asked": asked, "complaints": [e for e in self.events if e.get("method") in complaints]}

    def _next(self):
        while b"\0" not in self._rest:
            left = self.deadline - time.monotonic()
            assert left > 0, "the browser did not answer in time"
            assert select.select([self._in], [], [], left)[0], "the browser did not answer in time"
            chunk = os.read(self._in, 1 << 20)
            assert chunk, "the browser has ended"
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
