"""The snippets of the page on backends, with those of JAX, run on JAX."""

import re
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
SNIPPET = re.compile(
    r"^( *)```(?:python|\{\.python \.jax\})\n(.*?)^ *```", re.DOTALL | re.MULTILINE
)


@pytest.mark.skipif(keras.config.backend() != "jax", reason="snippets of JAX")
def test_the_snippets_run_on_jax(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    found = [textwrap.dedent(code) for _, code in SNIPPET.findall(PAGE.read_text("utf-8"))]
    assert len(found) == 3
    for code in found:
        exec(compile(code, str(PAGE), "exec"), namespace)
    assert np.isfinite(namespace["logs"]["loss"]).all()
