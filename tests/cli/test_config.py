import json

import keras
import pytest

from keras_kd.cli.config import expand_config
from keras_kd.cli.main import make_parser


@pytest.fixture
def parse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(text, words):
        (tmp_path / "run.toml").write_text(text)
        parser = make_parser()
        return parser.parse_args(expand_config(parser.commands, words.split()))

    return call


LINE = "distill t.keras s.keras --config run.toml"


def test_options_come_from_the_file_and_the_command_line_comes_first(parse):
    text = 'data = "digits"\nout = "a b"\nepochs = 7\nloss = ["dist", "wttm"]\njson = true\n'
    options = parse(text + "learning_rate = 0.5\nquiet = false\n", f"{LINE} --epochs=3")
    assert (options.data, str(options.out), options.epochs) == ("digits", "a b", 3)
    assert (options.loss, options.json, options.quiet) == (["dist", "wttm"], True, False)
    assert options.learning_rate == 0.5
    replaced = parse(text, f"{LINE} --loss soft_targets")
    assert replaced.loss == ["soft_targets"]


def test_several_values_of_one_option(parse):
    options = parse('threads = [1, 2]\nxnnpack = ["on"]\n', "benchmark m.tflite --config=run.toml")
    assert (options.threads, options.xnnpack) == ([1, 2], ["on"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3\n", "has the key 'epoch', which is no option of 'distill'"),
        ('config = "other.toml"\n', "has the key 'config'"),
        ("epochs = = 3\n", "cannot be read as TOML"),
        ('data = "digits"\nout = "a"\nepochs = 0\n', "at least 1, not 0"),
    ],
)
def test_a_wrong_file_is_rejected(parse, capsys, text, message):
    with pytest.raises(SystemExit) as end:
        parse(text, LINE)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_file_is_named(run):
    code, _, errors = run("distill teacher.keras student.keras --config none.toml")
    assert code == 2
    assert "'none.toml' cannot be read as TOML" in errors


def test_a_hidden_layer_is_matched(run, tmp_path):
    teacher, student = (
        keras.models.load_model(f"{name}.keras").layers[1].name for name in ("teacher", "student")
    )
    (tmp_path / "run.toml").write_text(
        f'data = "digits"\nout = "out"\nepochs = 1\nhint = ["{teacher}:{student}:0.5"]\n'
    )
    code, _, errors = run("distill teacher.keras student.keras --config run.toml")
    assert code == 0, errors
    assert "hint" in json.loads((tmp_path / "out" / "history.json").read_text())


@pytest.mark.parametrize("text", ["a", "a:b:c:d", "a:", "a:b:-1"])
def test_a_hint_of_another_form_is_rejected(run, text):
    code, _, errors = run(
        f"distill teacher.keras student.keras --data digits --out o --hint {text}"
    )
    assert code == 2
    assert "argument --hint" in errors
