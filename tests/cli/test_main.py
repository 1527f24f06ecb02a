"""The command line: exit codes, messages, and help without Keras."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from keras import layers

import keras_kd as kd
from keras_kd.cli.main import COMMANDS, main
from tests.cli import models

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
DISTILL = "distill teacher.keras student.keras --data digits --out out --epochs 2"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("destill a b", "invalid choice: 'destill'"),
        ("distill teacher.keras student.keras --data digits", "--out"),
        (f"{DISTILL} --epochs 0", "expected a whole number of at least 1, not 0"),
        (f"{DISTILL} --learning-rate -1", "expected a number above 0, not -1"),
        (f"{DISTILL} --student-loss-weight nan", "expected a number of at least 0, not nan"),
        (f"{DISTILL} --loss soft", "argument --loss: There is no distillation loss 'soft'. The"),
        (f"{DISTILL} --loss outputs_mse --temperature 2", "--temperature needs a loss with a"),
        ("distill teacher.keras student.keras --data digits --out .", "would overwrite"),
        ("export teacher.keras --quantization int8", "int8 needs --data"),
        ("export teacher.keras --objective size", "needs --quantization best"),
        ("export teacher.keras --quantization int7", "invalid choice: 'int7'"),
        ("benchmark teacher.tflite --threads 0", "at least 1, not 0"),
        ("prune teacher.keras --data digits --out p.keras --sparsity 1", "below 1, not 1"),
        ("prune teacher.keras --data digits --out teacher.keras", "would overwrite an input"),
        ("quantize-aware teacher.keras --data digits --out a.keras --bits 3", "invalid choice"),
        ("report a=teacher.keras a=student.keras --data digits", "the name 'a' is repeated"),
        (
            "report teacher.keras student.keras --data digits --history s=student.keras",
            "Expected learning curves",
        ),
    ],
)
def test_invalid_arguments_exit_with_2_before_any_work(run, tmp_path, line, message):
    code, output, errors = run(line)
    assert code == (1 if message.startswith("Expected") else 2)
    assert message in errors
    assert "usage:" not in errors
    assert output == ""
    assert models.files_in(tmp_path) == []


def test_no_arguments_show_the_help(run):
    code, output, _ = run("")
    assert code == 0
    assert output.startswith("usage: keras-kd")


def test_messages_of_libraries_are_hidden(model_files):
    command = [sys.executable, "-m", "keras_kd.cli.main", "export", "--data", "digits", "--quiet"]
    command += ["--quantization", "int8", str(model_files / "student.keras")]
    shown = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0", "PYTHONWARNINGS": "ignore"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=shown)
    assert run.stdout.startswith("Wrote ")
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export none.keras", "Received: 'none.keras', which is not a file"),
        ("export teacher.tflite", "Expected a .keras file. Received: 'teacher.tflite'"),
        ("export teacher.keras --out m.onnx", "ends in '.tflite'"),
        ("export teacher.keras --out deeper/m.tflite", "'deeper' does not exist"),
        ("benchmark none.tflite", "Received: 'none.tflite', which"),
        ("benchmark student.keras", "Received: 'student.keras', a file of a Keras model"),
        (f"{DISTILL} --data ./nothing", "Received: './nothing'"),
        (f"{DISTILL} --data ./wide", r"Received: samples of shape (9, 8, 1) in --data ./wide"),
        (f"{DISTILL} --train-split all", "Expected a split of 'digits'"),
        (f"{DISTILL} --out deeper/out", "Expected --out to be a writable folder"),
        (f"{DISTILL} --out teacher.keras", "Expected --out to be a writable folder"),
        ("report teacher.keras --data digits", "Expected at least two models"),
        ("report teacher.keras student.keras --data digits --out r.pdf", "['.html', '.md'"),
        ("report teacher.keras student.keras --data digits --teacher me", "Received: 'me'"),
        ("distill several.keras several.keras --data digits --out out", "a model with one output"),
    ],
)
def test_an_error_is_one_sentence_with_code_1_and_writes_nothing(run, tmp_path, line, message):
    if "several.keras" in line:
        inputs = layers.Input((8, 8, 1))
        heads = [layers.Dense(10, name=name)(layers.Flatten()(inputs)) for name in ("a", "b")]
        keras.Model(inputs, heads).save("several.keras")
    models.save_split(tmp_path / "wide" / "train.npz", (9, 8, 1))
    before = models.files_in(tmp_path)
    code, output, errors = run(line)
    sentence = errors.strip().splitlines()[-1]
    assert code == 1
    assert sentence.startswith(f"keras-kd {line.split()[0]}: error: ")
    assert message in sentence
    assert "Traceback" not in errors
    assert output == ""
    assert models.files_in(tmp_path) == before


def test_an_interrupt_exits_with_130_and_no_traceback(run, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(kd.Distiller, "fit", stop)
    code, output, errors = run(DISTILL)
    assert (code, output) == (130, "")
    assert errors.strip().endswith("keras-kd distill: interrupted")
    assert models.files_in(tmp_path) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(run, command):
    code, output, _ = run(f"{command} --help")
    assert code == 0
    assert f"examples:\n  keras-kd {command}" in output
    assert "(default: " in output
    assert max(map(len, output.splitlines())) < 110


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "-h"] for name in COMMANDS)])
def test_help_imports_neither_keras_nor_tensorflow(words):
    command = [sys.executable, "-X", "importtime", "-m", "keras_kd.cli.main", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = re.findall(r"\| +([\w.]+)$", result.stderr, re.MULTILINE)
    assert "keras_kd.cli.commands" in imported
    assert not {"keras", "tensorflow", "numpy"} & set(imported)
    assert result.stdout.startswith(kd.__version__ if words == ["--version"] else "usage: keras-kd")


def test_the_commands_of_the_documentation_run_in_sequence(tmp_path, monkeypatch):
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
