import pytest

from tests.cli import models

QUANTIZE = "quantize-aware student.keras --data {} --epochs 1 --out aware.keras"


def test_without_a_test_split_nothing_is_evaluated(run, tmp_path):
    models.save_split(tmp_path / "mine" / "train.npz", labels=tuple(range(10)))
    code, text, errors = run(QUANTIZE.format("./mine"))
    assert code == 0, errors
    assert text == "Not evaluated: there is no test split.\nWrote aware.keras.\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--teacher none.keras", "Received: 'none.keras', which is not a file"),
        ("--out deeper/aware.keras", "'deeper' does not exist"),
        ("--out aware.h5", "ends in '.keras'"),
    ],
)
def test_nothing_is_trained_or_written_after_an_error(run, tmp_path, line, message):
    before = models.files_in(tmp_path)
    code, _, errors = run(f"{QUANTIZE.format('digits')} {line}")
    assert code == 1
    assert message in errors
    assert models.files_in(tmp_path) == before
