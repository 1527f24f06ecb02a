"""The documentation site builds without a warning, its links lead somewhere, browsers like it."""

import contextlib
import inspect
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import keras_kd as kd
from tests.docs.browser import chromium

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return folder


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}


def test_no_link_of_the_site_is_broken(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            # The page for missing pages is served anywhere, so its links begin at the root.
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = not parts.fragment or parts.fragment in getattr(
                pages.get(target), "anchors", ()
            )
            if not target.exists() or not known:
                broken.append((path.name, link))
    assert len(pages) > 15
    assert not broken


def test_the_examples_of_the_reference_are_shown_as_code(site):
    for page in (site / "api").glob("*.html"):
        text = page.read_text()
        assert "<blockquote>" not in text, page.name
        assert ">Example:<" not in text, page.name


def test_every_page_opens_in_a_browser_without_error_and_stays_on_its_server(site, tmp_path):
    with served(site) as address, chromium(tmp_path) as browser:
        for path in sorted(site.rglob("*.html")):
            if path.name == "404.html":
                continue
            visit = browser.visit(f"{address}/{path.relative_to(site)}")
            assert not visit.errors, (path.name, visit.errors)
            elsewhere = [
                url for url in visit.requests if not url.startswith((address, "data:", "blob:"))
            ]
            assert not elsewhere, path.name
            assert browser.evaluate("document.querySelectorAll('article h1').length") == 1


def test_the_browser_tells_of_errors_and_of_what_a_page_asks_for(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<title>t</title><script>console.error('no'); console.log('yes')</script>"
        "<img src='missing.png'><script>throw new Error('thrown')</script>"
    )
    with chromium(tmp_path / "profile") as browser:
        visit = browser.visit(page.as_uri())
        assert browser.evaluate("document.title") == "t"
    assert sorted(error.split()[0] for error in visit.errors) == ["Error:", "Failed", "no"]
    assert visit.requests == [page.as_uri(), (tmp_path / "missing.png").as_uri()]


def test_the_search_finds_a_page(site, tmp_path):
    with served(site) as address, chromium(tmp_path) as browser:
        browser.visit(f"{address}/index.html")
        found = browser.evaluate(
            """new Promise((found, failed) => {
                const box = document.querySelector('.md-search__input');
                box.focus();
                box.value = 'DecoupledKD';
                box.dispatchEvent(new Event('keyup', {bubbles: true}));
                box.dispatchEvent(new Event('input', {bubbles: true}));
                const look = () => document.querySelector('.md-search-result__link')?.href;
                const started = Date.now();
                const timer = setInterval(() => {
                    if (look() || Date.now() - started > 10000) {
                        clearInterval(timer);
                        found(look() || 'nothing');
                    }
                }, 50);
            })"""
        )
        assert "losses.html" in found or "choosing-a-loss.html" in found


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    described = re.findall(r"^(?:::: |## )keras_kd\.([\w.]+)", pages, re.MULTILINE)
    public = [name for own in kd.__all__ for name in _offered(own)]
    assert sorted(described) == sorted(public)


def _offered(name):
    """A name of `kd`, or, of a module, the classes and functions of that room."""
    value = getattr(kd, name)
    if not inspect.ismodule(value):
        return [name]
    return [
        f"{name}.{own}"
        for own, member in vars(value).items()
        if not own.startswith("_")
        and (inspect.isclass(member) or inspect.isfunction(member))
        and member.__module__.startswith(value.__name__)
    ]


@contextlib.contextmanager
def served(folder):
    """A web server for a folder; the address."""
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass
