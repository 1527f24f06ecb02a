"""The command line: what it writes, prints and refuses, and that it never runs a model's code."""

import json
import re
import shlex
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.cli.main import COMMANDS, main

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def dense(name, *units, last=None):
    stack = [layers.Dense(count, "relu") for count in units]
    return keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), *stack, layers.Dense(10, last)], name=name
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a trained teacher, a student and a file of each."""
    folder = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(0)
    teacher = dense("teacher", 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher.compile(keras.optimizers.Adam(5e-3), loss)
    teacher.fit(kd.datasets.load("digits"), epochs=5, verbose=0)
    teacher.save(folder / "teacher.keras")
    dense("student", 8).save(folder / "student.keras")
    kd.export.to_tflite(teacher, folder / "teacher.tflite")
    return folder


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs a line in a folder of its own with the models in it: exit code, JSON or text, errors."""
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)

    def call(line):
        capsys.readouterr()
        try:
            code = main(shlex.split(line))
        except SystemExit as end:
            code = end.code
        output, errors = capsys.readouterr()
        return code, json.loads(output) if "--json" in line and not code else output, errors

    return call


def made(folder):
    """What a command added to its folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


DISTILL = "distill teacher.keras student.keras --data digits --out out --epochs 2"


def test_distill_gives_the_student_that_the_same_lines_of_python_give(run, tmp_path):
    code, numbers, _ = run(f"{DISTILL} --loss soft_targets --temperature 2 --seed 3 --json")
    assert code == 0
    assert made(tmp_path) == ["out/history.json", "out/student.keras"]

    keras.utils.set_random_seed(3)
    student = keras.models.load_model("student.keras")
    teacher = keras.models.load_model("teacher.keras", compile=False)
    train = kd.datasets.load("digits", seed=3)
    distiller = kd.Distiller(student, teacher, kd.losses.SoftTargets(2))
    rate = keras.optimizers.schedules.CosineDecay(5e-3, 2 * len(train))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    test = kd.datasets.load("digits", "test")
    history = distiller.fit(train, validation_data=test, epochs=2, verbose=0).history

    written = keras.models.load_model("out/student.keras")
    for ours, theirs in zip(written.get_weights(), student.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    curves = json.loads(Path("out/history.json").read_text())
    assert curves.keys() == history.keys()
    assert all(curves[name] == pytest.approx(history[name]) for name in curves)
    assert numbers["student_accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert numbers["teacher_accuracy"] > numbers["student_accuracy"]
    assert numbers["student_parameters"] == student.count_params()
    assert not written.compiled


def test_without_a_test_split_distill_measures_nothing(run):
    Path("mine").mkdir()
    np.savez("mine/train.npz", x=np.zeros((4, 8, 8, 1), "float32"), y=[0, 1, 2, 3])
    line = "distill teacher.keras student.keras --data mine --out out --epochs 1"
    code, text, _ = run(line)
    assert code == 0
    assert "not measured: no test split" in text
    assert "val_loss" not in json.loads(Path("out/history.json").read_text())


def test_export_writes_a_verified_file_beside_the_model(run, tmp_path):
    code, numbers, errors = run("export teacher.keras --quantization int8 --data digits --json")
    assert code == 0
    assert "Converting 'teacher.keras' to int8" in errors
    file = Path("teacher.tflite")
    assert numbers["file"] == "teacher.tflite"
    assert numbers["size"] == file.stat().st_size
    (score,) = numbers["verification"]["outputs"].values()
    test = kd.datasets.load("digits", "test")
    assert numbers["verification"]["samples"] == 296
    assert score["accuracy"] == kd.export.evaluate(file, test).accuracy
    assert kd.export.describe(file).quantization == "int8"


def test_export_keeps_the_best_and_says_why_not_the_others(run):
    line = "export teacher.keras --quantization best --objective size --max-drop 5 --data digits"
    code, text, _ = run(f"{line} --out best.tflite --io-dtype int8")
    assert code == 0
    kept = kd.export.describe("best.tflite").quantization
    assert kept == "int8"  # Only int8 takes bytes.
    assert re.search(rf"^{kept} .* kept$", text, re.MULTILINE)
    assert "float16: Expected an io_dtype of" in text


def test_benchmark_compares_settings(run):
    line = "benchmark teacher.tflite --runs 5 --threads 1 2 --xnnpack on off"
    code, numbers, _ = run(f"{line} --json")
    assert code == 0
    settings = [(one["threads"], one["xnnpack"]) for one in numbers["latencies"]]
    assert settings == [(1, True), (2, True), (1, False), (2, False)]
    assert numbers["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    code, text, _ = run("benchmark teacher.tflite --runs 5")
    assert "1 thread, XNNPACK on" in text
    assert "4.8 k parameters" in text or "4,810 parameters" in text


def test_report_writes_a_page_of_models_by_name(run):
    Path("curves.json").write_text('{"loss": [2.0, 1.0]}')
    line = "report teacher.tflite small=student.keras --data digits --out page.html"
    code, numbers, _ = run(f"{line} --history small=curves.json --title Mine --json")
    assert code == 0
    names = [entry["name"] for entry in numbers["entries"]]
    assert names == ["teacher.tflite", "small"]
    assert (numbers["teacher"], numbers["student"]) == ("teacher.tflite", "small")
    assert numbers["samples"] == 296
    assert "<title>Mine</title>" in Path("page.html").read_text()
    assert numbers["history"] == {"small": {"loss": [2.0, 1.0]}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("distil a b", "invalid choice: 'distil'"),
        ("distill teacher.keras student.keras --data digits", "--out"),
        (f"{DISTILL} --epochs 0", "expected a whole number of at least 1, not 0"),
        (f"{DISTILL} --learning-rate -1", "expected a number above 0, not -1"),
        (f"{DISTILL} --student-loss-weight nan", "expected a number of at least 0, not nan"),
        (f"{DISTILL} --loss soft", "There is no distillation loss 'soft'. The nearest"),
        (f"{DISTILL} --loss logits_mse --temperature 2", "--temperature goes with a loss"),
        ("distill teacher.keras student.keras --data digits --out .", "would overwrite"),
        ("export teacher.keras --quantization int8", "int8 needs --data"),
        ("export teacher.keras --objective size", "goes with --quantization best"),
        ("export teacher.keras --quantization int7", "invalid choice: 'int7'"),
        ("benchmark teacher.tflite --threads 0", "at least 1, not 0"),
        ("report a=teacher.keras a=student.keras --data digits", "'a' is there twice"),
        (
            "report teacher.keras student.keras --data digits --history s=student.keras",
            "Expected learning curves",
        ),
    ],
)
def test_wrong_arguments_end_with_2_before_anything_is_done(run, tmp_path, line, message):
    code, output, errors = run(line)
    assert code == (1 if message.startswith("Expected") else 2)
    assert message in errors
    assert output == ""
    assert made(tmp_path) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export none.keras", "Received: 'none.keras', which is no file"),
        ("export teacher.tflite", "Expected a .keras file. Received: 'teacher.tflite'"),
        ("export teacher.keras --out m.onnx", "ends in '.tflite'"),
        ("export teacher.keras --out deeper/m.tflite", "whose folder 'deeper' is none"),
        ("benchmark none.tflite", "Received: 'none.tflite', which is no file"),
        ("benchmark student.keras", "without the mark TFL3"),
        (f"{DISTILL} --data ./nothing", "which is no folder"),
        (f"{DISTILL} --data ./wide", r"Received: samples of shape (9, 8, 1) in --data ./wide"),
        (f"{DISTILL} --data ./batches", "They look like batches: save single samples"),
        (f"{DISTILL} --train-split all", "Expected a split of 'digits'"),
        (f"{DISTILL} --out deeper/out", "Expected --out as a folder that can be written"),
        (f"{DISTILL} --out teacher.keras", "Expected --out as a folder that can be written"),
        ("report teacher.keras --data digits", "Expected at least two models"),
        ("report teacher.keras student.keras --data digits --out r.pdf", "['.html', '.md'"),
        ("report teacher.keras student.keras --data digits --teacher me", "Received: 'me'"),
        ("distill several.keras several.keras --data digits --out out", "a model of one output"),
    ],
)
def test_a_refusal_is_one_sentence_and_code_1_and_leaves_nothing(run, tmp_path, line, message):
    inputs = layers.Input((8, 8, 1))
    ends = [layers.Dense(10, name=name)(layers.Flatten()(inputs)) for name in ("a", "b")]
    keras.Model(inputs, ends).save("several.keras")
    for name, shape in (("wide", (9, 8, 1)), ("batches", (4, 8, 8, 1))):
        (tmp_path / name).mkdir()
        np.savez(f"{name}/train.npz", x=np.zeros((2, *shape), "float32"), y=[0, 1])
    before = made(tmp_path)
    code, output, errors = run(line)
    sentence = errors.strip().splitlines()[-1]
    assert code == 1
    assert sentence.startswith(f"keras-kd {line.split()[0]}: error: ")
    assert message in sentence
    assert "Traceback" not in errors
    assert output == ""
    assert made(tmp_path) == before


def test_report_needs_a_split_to_measure_on(run):
    Path("mine").mkdir()
    np.savez("mine/train.npz", x=np.zeros((2, 8, 8, 1), "float32"), y=[0, 1])
    code, _, errors = run("report teacher.keras student.keras --data mine")
    assert code == 2
    assert "has no split 'test' or 'validation', only ['train']: name one with" in errors


def test_an_export_that_is_too_far_off_is_refused_and_kept_aside(run, tmp_path):
    Path("mine").mkdir()
    x = np.random.default_rng(0).random((50, 8, 8, 1), "float32")
    y = keras.models.load_model("teacher.keras").predict(x, verbose=0).argmax(-1)
    np.savez("mine/test.npz", x=x, y=y)
    np.savez("mine/train.npz", x=x * 0.001, y=y)  # Such as the model never sees.
    code, _, errors = run("export teacher.keras --quantization int8 --data mine --out m.tflite")
    assert code == 1
    assert "points of accuracy" in errors
    assert "It is kept as 'm.rejected.tflite'" in errors
    assert not Path("m.tflite").exists()


@pytest.mark.parametrize("command", ["export", "report"])
def test_code_in_a_model_runs_only_if_it_is_said(run, tmp_path, command):
    mark = str(tmp_path / "ran")
    evil = layers.Lambda(lambda x: (__import__("pathlib").Path("ran").touch(), x)[1], (8, 8, 1))
    keras.Sequential([layers.Input((8, 8, 1)), evil, dense("d")]).save("evil.keras")
    Path(mark).unlink(missing_ok=True)
    line = {
        "export": "export evil.keras",
        "report": "report teacher.keras evil.keras --data digits --out r.json",
    }[command]
    code, _, errors = run(line)
    assert (code, Path(mark).exists()) == (1, False)
    assert "which holds Python code" in errors
    assert "It would run with your rights" in errors
    assert "--unsafe" in errors
    if command == "export":
        assert run(f"{line} --unsafe")[0] == 0
        assert Path(mark).exists()


def test_a_model_of_unknown_classes_is_refused_and_says_what_to_do(run):
    class Odd(layers.Layer):
        def call(self, x):
            return x

    keras.Sequential([layers.Input((8, 8, 1)), Odd(), dense("d")]).save("odd.keras")
    code, _, errors = run("export odd.keras --unsafe")
    assert code == 1
    assert "which needs the class 'Odd': its code is not in the file" in errors


def test_a_model_that_would_unpack_without_bounds_is_refused(run):
    with zipfile.ZipFile("bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * 2**24)
    code, _, errors = run("export bomb.keras")
    assert code == 1
    assert "'bomb.keras', which would unpack to 16,777,216 bytes, more than 100 times" in errors


def test_an_interrupt_is_no_traceback(run, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(kd.Distiller, "fit", stop)
    code, output, errors = run(DISTILL)
    assert (code, output) == (130, "")
    assert errors.strip().endswith("keras-kd distill: interrupted")
    assert made(tmp_path) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(run, command):
    code, output, _ = run(f"{command} --help")
    assert code == 0
    assert f"examples:\n  keras-kd {command}" in output
    assert "(default: " in output
    assert max(map(len, output.splitlines())) < 110


@pytest.mark.slow
def test_demo_goes_the_whole_way(run):
    code, numbers, errors = run("demo --epochs 2 --json")
    assert code == 0
    names = [entry["name"] for entry in numbers["report"]["entries"]]
    assert names == ["teacher.keras", "alone.keras", "student.keras", "int8"]
    teacher_outputs = re.findall(r"^\$ keras-kd (\w+)", errors, re.MULTILINE)
    assert teacher_outputs == ["distill", "export", "report"]
    assert Path("keras-kd-demo/report.html").read_text().startswith("<!doctype html>")


def test_the_commands_of_the_page_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(snippet, PAGE.name, "exec"), {})
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    assert {line.split()[1] for line in lines} >= {"distill", "export", "benchmark", "report"}
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "keras-kd"
        assert main(words) == 0, line
