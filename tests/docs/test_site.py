"""The documentation site builds without a warning, has no broken link, and works in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import keras_kd as kd
from tests.docs.public_names import public_names

ROOT = Path(__file__).parents[2]

pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")


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


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_no_link_of_the_site_is_broken(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            # The page for missing pages is served at any address, so its links start at the root.
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


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"])
def test_no_link_of_a_page_outside_the_site_is_broken(name, site, pages):
    for link in re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text()):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        assert (ROOT / parts.path).exists(), link
        if parts.fragment:
            page = (site / parts.path.removeprefix("docs/")).with_suffix(".html")
            assert parts.fragment in pages[page].anchors, link


def test_the_examples_of_the_reference_are_shown_as_code(site):
    for page in (site / "api").glob("*.html"):
        text = page.read_text()
        assert "<blockquote>" not in text, page.name
        assert ">Example:<" not in text, page.name


def test_the_reference_shows_a_function_and_not_the_module_of_the_same_name(site, pages):
    anchors = pages[site / "api" / "compression.html"].anchors
    assert "keras_kd.compression.prune" in anchors
    assert not [anchor for anchor in anchors if anchor.startswith("keras_kd.compression.prune.")]


def test_every_page_opens_without_error_fits_a_phone_and_loads_nothing_from_other_hosts(
    pages, site, address, browser
):
    phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.send("Emulation.setDeviceMetricsOverride", **phone)
    for path in sorted(pages):
        if path.name == "404.html":
            continue
        visit = browser.visit(f"{address}/{path.relative_to(site)}")
        assert not visit.errors, (path.name, visit.errors)
        allowed = (address, "data:", "blob:")
        assert not [url for url in visit.requests if not url.startswith(allowed)], path.name
        assert browser.evaluate("document.querySelectorAll('article h1').length") == 1
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390, path.name
    browser.send("Emulation.clearDeviceMetricsOverride")


def test_a_visit_reports_errors_and_requests(tmp_path, browser):
    page = tmp_path / "page.html"
    page.write_text(
        "<title>t</title><script>console.error('no'); console.log('yes')</script>"
        "<img src='missing.png'><script>throw new Error('thrown')</script>"
    )
    visit = browser.visit(page.as_uri())
    assert browser.evaluate("document.title") == "t"
    assert sorted(error.split()[0] for error in visit.errors) == ["Error:", "Failed", "no"]
    assert visit.requests == [page.as_uri(), (tmp_path / "missing.png").as_uri()]


@pytest.mark.parametrize("from_disk", [False, True])
def test_the_search_finds_a_page(from_disk, searchable, site, browser):
    visit = browser.visit(f"{site.as_uri() if from_disk else searchable}/index.html")
    found = browser.evaluate(
        """new Promise(done => {
            const box = document.querySelector('.md-search__input');
            box.focus();
            box.value = 'DecoupledKD';
            box.dispatchEvent(new Event('keyup', {bubbles: true}));
            box.dispatchEvent(new Event('input', {bubbles: true}));
            const result = () => document.querySelector('.md-search-result__link')?.href;
            const started = Date.now();
            const timer = setInterval(() => {
                if (result() || Date.now() - started > 10000) {
                    clearInterval(timer);
                    done(result() || 'nothing');
                }
            }, 50);
        })"""
    )
    assert "losses.html" in found or "choosing-a-loss.html" in found
    assert not visit.errors


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    documented = re.findall(r"^(?:::: |## )keras_kd\.([\w.]+)", pages, re.MULTILINE)
    assert sorted(documented) == public_names()


def test_tables_are_as_large_as_the_text_and_names_stay_whole(site, address, browser):
    desktop = {"width": 1366, "height": 768, "deviceScaleFactor": 1, "mobile": False}
    browser.send("Emulation.setDeviceMetricsOverride", **desktop)
    for name in ("api/index.html", "command-line.html", "compress.html", "export.html"):
        browser.visit(f"{address}/{name}")
        small = """[...document.querySelectorAll('article :is(td, th)')].filter(cell =>
            parseFloat(getComputedStyle(cell).fontSize) < 16).length"""
        assert browser.evaluate(small) == 0, name
        broken = """[...document.querySelectorAll('article :not(pre) > code')].filter(code =>
            !/\\s/.test(code.textContent) && code.textContent.length <= 28
            && code.getClientRects().length > 1).map(code => code.textContent)"""
        assert browser.evaluate(broken) == [], name
        empty = """[...document.querySelectorAll('article thead tr')].filter(row =>
            !row.textContent.trim()).length"""
        assert browser.evaluate(empty) == 0, name
    browser.send("Emulation.clearDeviceMetricsOverride")


def test_the_footer_shows_the_version(site):
    assert f"keras_kd {kd.__version__}," in (site / "index.html").read_text()
