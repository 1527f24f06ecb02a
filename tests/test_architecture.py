"""Tests of the layout: imports run one way, each source has its test, words are plain."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_kd"
#: The layers, bottom first: a module imports from its own layer and from lower ones.
LAYERS = (
    ("version", "display"),
    ("files",),
    ("models",),
    ("litert",),
    ("training",),
    ("losses",),
    ("testing",),
    ("teachers",),
    ("cache",),
    ("callbacks",),
    ("distillers",),
    ("teacher_class",),
    ("datasets",),
    ("recipes",),
    ("export",),
    ("compression",),
    ("report",),
    ("budget",),
    ("cli",),
)
#: Where `tensorflow` may be imported, and why.
TENSORFLOW = {
    "training/tensorflow_step": "the step of the TensorFlow backend",
    "training/tf_data": "data sets of tf.data",
    "training/distribution": "tf.distribute",
    "training/graph_errors": "errors of TensorFlow graphs",
    "training/label_checks": "assertions in the pipeline of a tf.data.Dataset",
    "teachers/tflite_teacher": "LiteRT teachers run as a py_function",
    "recipes/fingerprints": "reads tf.data data sets",
    "recipes/pseudo_label": "returns a tf.data.Dataset",
    "report/compare": "a report names the version",
    "report/page": "encodes images as PNG",
    "budget/augmentation": "views of images in tf.data",
    "cache": "joins teacher outputs to a tf.data.Dataset",
    "compression": "tf.data, and tf_keras in tfmot/",
    "datasets": "returns tf.data data sets",
    "export": "the TFLite converter",
    "litert": "signatures of files",
}
#: The packages of the other backends, and where they may be imported.
BACKENDS = {"jax": "training/jax_", "torch": "training/torch_step"}
#: Sources without a test file of the same name, and why.
UNTESTED = {
    "version": "one constant",
    "distillers/objective": "an interface; its implementations are tested",
}
#: Words that the glossary of CONTRIBUTING.md replaces by standard terms.
WORDS = (
    *("noughts?", "in our words", "lessons?", "un?taught", "taught", "mend(?:s|ed|ing)?"),
    *("told of", "(?:is|are|was|were) told", "(?:says?|tells?) so", "(?:right|wrong) answers?"),
    *(r"(?<!soon\s)as it is", "as it stands", "falls to", "comes? by itself", "nothing lost"),
    *("(?:leaves?|leaving|left) (?:it |them )?(?:out|away)", "where they part", "have it back"),
    *("ships?", "shipped", "(?:is|are) sure", "doubts?", "packs? better", "class of students"),
    *("asks? the teachers?", "(?:go|goes|going) on teaching"),
    "(?:what|which) (?:it|they|each|the teacher|the student) (?:says?|said)",
    *("(?:un)?labell(?:ed|ing)", r"regularis\w+", r"normalis\w+", "distils?", "behaviours?"),
)


@cache
def modules():
    """Return the path of each module, by name without `keras_kd.`."""
    return {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def nodes(path):
    """Return the nodes of a file's syntax tree."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def imports():
    """Return the modules of the package that each module imports, also inside functions."""
    return {name: found - {name} for name, path in modules().items() if (found := edges(path))}


def edges(path):
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_kd":
            base = node.module.removeprefix("keras_kd").strip(".")
            names = {f"{base}.{alias.name}".strip(".") for alias in node.names}
            found |= {name if name in modules() else base for name in names}
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("keras_kd.")]
            found |= {name.removeprefix("keras_kd.") for name in names}
    return found - {""}


def layer(name):
    return next(i for i, names in enumerate(LAYERS) if name.split(".")[0] in names)


@cache
def external(path):
    """Return the top-level names of everything that a file imports."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_no_import_runs_to_a_higher_layer():
    upward = [
        f"{name} -> {other}"
        for name, others in imports().items()
        for other in others
        if name and layer(other) > layer(name)
    ]
    assert upward == []


def test_no_modules_import_each_other_in_a_circle():
    done, circles = set(), []

    def visit(name, path):
        for other in sorted(imports().get(name, ())):
            if other in path:
                circles.append(" -> ".join([*path[path.index(other) :], other]))
            elif other not in done:
                visit(other, [*path, other])
        done.add(name)

    for name in imports():
        if name and name not in done:  # The lazy face of the package imports everything.
            visit(name, [name])
    assert circles == []


def test_three_files_at_the_root():
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        "__init__.py",
        "version.py",
        "files.py",
    }


@pytest.mark.parametrize(
    ("package", "folder"),
    [
        ("tensorflow_model_optimization", "compression.tfmot"),
        ("tf_keras", "compression.tfmot"),
        ("tensorflow_datasets", "datasets"),
        ("optuna", "budget"),
        ("jinja2", "display.templates"),
    ],
)
def test_a_package_is_imported_in_one_folder_only(package, folder):
    users = [name for name, path in modules().items() if package in external(path)]
    assert [name for name in users if not name.startswith(folder)] == []


def test_tensorflow_is_imported_only_where_it_is_needed():
    users = {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in modules().values()
        if "tensorflow" in external(path)
    }
    allowed = {user for user in users if user in TENSORFLOW or user.split("/")[0] in TENSORFLOW}
    assert sorted(users - allowed) == []
    unused = {name for name in TENSORFLOW if not any(u.startswith(name) for u in users)}
    assert unused == set()


@pytest.mark.parametrize("package", BACKENDS)
def test_a_backend_is_imported_only_in_its_step(package):
    users = [
        str(path.relative_to(PACKAGE)) for path in modules().values() if package in external(path)
    ]
    assert users
    assert [user for user in users if not user.startswith(BACKENDS[package])] == []


def test_one_module_asks_which_backend_it_is():
    asking = [name for name, path in modules().items() if "config.backend()" in path.read_text()]
    assert asking == ["training.backend"]


def test_every_source_has_a_test_of_the_same_name():
    missing = []
    for path in modules().values():
        relative = path.relative_to(PACKAGE)
        test = ROOT / "tests" / relative.parent / f"test_{relative.name}"
        exempt = relative.name == "__init__.py" or str(relative.with_suffix("")) in UNTESTED
        if not test.exists() and not exempt:
            missing.append(str(relative))
    assert missing == []


def test_every_test_of_a_package_folder_is_named_after_a_source():
    known = {
        "conformance": "runs every distiller",
        "damage": "damaged files, all readers",
        "hub": "models of KerasHub",
    }
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    strays = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        relative = path.relative_to(ROOT / "tests")
        source = PACKAGE / relative.parent / relative.name.removeprefix("test_")
        if relative.parts[0] in folders - {"benchmarks"} and not source.exists():
            strays.append(relative.stem.removeprefix("test_"))
    allowed = {*known, "every_loss", "masks", "schedulers", "distribution_workers", "formats"}
    assert sorted(set(strays) - allowed) == []


def test_files_and_functions_are_short():
    long = []
    for path in modules().values():
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                documented = doc.end_lineno - doc.lineno + 1 if doc else 0
                lines = node.end_lineno - node.lineno + 1 - documented
                if lines > 45:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert long == []


def test_words_are_plain():
    files = [
        *PACKAGE.rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").glob("*.py"),
        *(ROOT / "benchmarks").rglob("*.py"),
        *(path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)),
        *(ROOT / name for name in ("README.md", "CHANGELOG.md", "pyproject.toml", "Makefile")),
    ]
    # Also where a line breaks inside of one.
    pattern = re.compile(rf"\b(?:{'|'.join(WORDS)})\b".replace(" ", r"\s+"), re.IGNORECASE)
    found = []
    for path in files:
        text = path.read_text()
        for match in pattern.finditer(text):
            number = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{number}: {' '.join(match.group().split())}")
    assert found == []
