"""A release: one version and one date in all places."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

import keras_kd as kd

ROOT = Path(__file__).parents[1]
FILES = ("CHANGELOG.md", "keras_kd/version.py", "CITATION.cff")


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci/release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def text(root, name):
    return (root / name).read_text()


def versions(root):
    """The version of each file; in the changelog that of the last release."""
    patterns = (r"^## (\d[\d.]*) - ", r'__version__ = "(.*)"', r"^version: (.*)$")
    return [
        re.search(pattern, text(root, name), re.MULTILINE).group(1)
        for name, pattern in zip(FILES, patterns, strict=True)
    ]


def test_all_files_have_the_version_of_the_package():
    assert set(versions(ROOT)) == {kd.__version__}


def test_a_release_sets_version_and_date_and_opens_the_next_section(release, tmp_path):
    (tmp_path / "keras_kd").mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n### Added\n\n- It.\n")
    release("0.9.0", tmp_path, "2030-01-02")
    assert versions(tmp_path) == ["0.9.0"] * 3
    assert "date-released: 2030-01-02\nlicense:" in text(tmp_path, "CITATION.cff")
    changed = "## Unreleased\n\n## 0.9.0 - 2030-01-02\n\n### Added\n\n- It.\n"
    assert text(tmp_path, "CHANGELOG.md").endswith(changed)
    with pytest.raises(SystemExit, match="Received: none"):
        release("0.9.1", tmp_path)
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n### Fixed\n")
    release("0.9.1", tmp_path, "2030-02-03")
    assert text(tmp_path, "CITATION.cff").count("date-released: 2030-02-03") == 1


@pytest.mark.parametrize("version", ["0.2", "v0.2.0", "0.2.0rc1", ""])
def test_other_versions_are_rejected(release, version):
    with pytest.raises(SystemExit, match="Expected a version such as"):
        release(version)
