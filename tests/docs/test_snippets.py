"""Every Python snippet of the README and the docs runs."""

import re
from pathlib import Path

import pytest

from tests.budget.conftest import make_fast

ROOT = Path(__file__).parents[2]
# Its snippet runs together with its shell commands, in tests/cli/test_main.py.
RUN_ELSEWHERE = "docs/command-line.md"
#: Pages that need an optional package.
PACKAGES = {"docs/keras-hub.md": "keras_hub"}
#: One epoch shows that the code runs; this page's teacher must be confident in some samples.
EPOCHS = {"docs/few-labels.md": 5}

#: Pages about the compiled step, and one of many steps. Others run without tracing, which takes
#: longer than their steps.
TRACED = {"docs/performance.md", "docs/reliability.md", "docs/backends.md", "docs/few-labels.md"}


def snippets(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


PAGES = {
    name: found
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if (found := snippets(name := str(path.relative_to(ROOT)))) and name != RUN_ELSEWHERE
}


def runs_within_another_page(page):
    """Whether another page starts with the same snippets; of equal pages, the first one runs."""
    own = PAGES[page]
    return any(
        other[: len(own)] == own and (len(other) > len(own) or name < page)
        for name, other in PAGES.items()
        if name != page
    )


def pages_to_run():
    for page in PAGES:
        if not runs_within_another_page(page):
            yield pytest.param(page, marks=[pytest.mark.traced] if page in TRACED else [])


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_to_run())
def test_the_snippets_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, request):
    if page in PACKAGES:
        pytest.importorskip(PACKAGES[page], reason=f"{PACKAGES[page]} is not installed")
    monkeypatch.chdir(tmp_path)
    make_fast(monkeypatch)  # The searches of a budget.
    if page not in EPOCHS:
        request.getfixturevalue("few_digits")
    namespace = {}
    for snippet in PAGES[page]:
        # Accuracies are measured by the benchmarks.
        code = re.sub(r"epochs=\d+", f"epochs={EPOCHS.get(page, 1)}", snippet)
        code = re.sub(r"trials=\d+", "trials=1", code)
        exec(compile(code, page, "exec"), namespace)


def test_the_quickstart_contains_the_example_of_the_readme():
    own = PAGES["README.md"]
    assert PAGES["docs/index.md"][: len(own)] == own
