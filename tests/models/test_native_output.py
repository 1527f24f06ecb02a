import contextlib
import logging
import os
import sys

import pytest

from keras_kd.models.native_output import hold_native_output


def write_both():
    os.write(2, b"native\n")
    print("python", file=sys.stderr)


def test_native_text_is_dropped_and_python_text_is_not(capfd):
    with hold_native_output():
        write_both()
    assert capfd.readouterr().err == "python\n"
    write_both()
    assert sorted(capfd.readouterr().err.split()) == ["native", "python"]


@pytest.mark.parametrize(("show_on", "shown"), [((ValueError,), True), ((), False)])
def test_native_text_is_shown_after_the_chosen_errors(capfd, show_on, shown):
    with contextlib.suppress(ValueError), hold_native_output(show_on):
        os.write(2, b"native\n")
        raise ValueError
    assert ("native" in capfd.readouterr().err) == shown


def test_a_stream_of_its_own_is_left_alone(capsys):
    before = sys.stderr
    with hold_native_output():
        assert sys.stderr is before
        print("python", file=sys.stderr)
    assert capsys.readouterr().err == "python\n"


def test_a_logger_that_was_made_in_the_meantime_still_writes(capfd):
    with hold_native_output():
        handler = logging.StreamHandler()
        assert not sys.stderr.isatty()
    record = logging.makeLogRecord({"msg": "later"})
    handler.emit(record)
    handler.flush()
    assert capfd.readouterr().err == "later\n"


def test_within_another_nothing_native_appears(capfd):
    with hold_native_output():
        with hold_native_output():
            write_both()
        write_both()
    assert capfd.readouterr().err == "python\npython\n"
