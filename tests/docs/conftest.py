"""One documentation site and one browser for all tests."""

import contextlib
import importlib
import json
import subprocess
import sys
import threading
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.browser import chromium

ROOT = Path(__file__).parents[2]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class ShortSearchHandler(QuietHandler):
    """Serves the start of the search index: every page reads all of it, which takes longest."""

    def do_GET(self):
        if not self.path.endswith("search_index.json"):
            super().do_GET()
            return
        content = shorten_index(self.translate_path(self.path))
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@cache
def shorten_index(path):
    index = json.loads(Path(path).read_text())
    return json.dumps(index | {"docs": index["docs"][:1]}).encode()


@contextlib.contextmanager
def serve(folder, handler):
    """Serve a folder and yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def few_digits(monkeypatch):
    """Each split of the digits has 120 samples: accuracies are measured by the benchmarks."""
    load = importlib.import_module("keras_kd.datasets.load")
    splits = {name: rows[:120] for name, rows in load._digits_splits().items()}
    monkeypatch.setattr(load, "_digits_splits", lambda: splits)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The folder of the site, built strictly: a warning of MkDocs is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def address(site):
    """The address of a web server for the site, whose search finds next to nothing."""
    with serve(site, ShortSearchHandler) as found:
        yield found


@pytest.fixture(scope="session")
def searchable(site):
    """The address of a web server for the site."""
    with serve(site, QuietHandler) as found:
        yield found


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened
