"""The child process: it ends with its object, and its crash is an error."""

import signal

import pytest

from keras_kd.litert import process
from tests.export import models


@pytest.fixture
def opened():
    return process.ServerProcess(models.content(models.cnn), "'m.tflite'", threads=1)


def test_the_process_ends_with_its_object(opened):
    child = opened._process
    assert child.poll() is None
    opened.close()
    assert child.poll() is not None


def test_an_object_that_is_collected_ends_its_process():
    child = process.ServerProcess(models.content(models.cnn), "test", threads=1)._process
    assert child.poll() is not None


def test_an_error_of_litert_leaves_the_process_running(opened):
    with pytest.raises(process.LiteRTError, match="no_method"):
        opened.request("no_method")
    assert "serving_default" in opened.request("describe")


def test_a_crash_is_an_error_with_its_cause(opened):
    opened._process.send_signal(signal.SIGSEGV)
    with pytest.raises(
        RuntimeError, match=r"'m.tflite', with which LiteRT crashed in .* with signal SIGSEGV"
    ):
        opened.request("describe")


def test_a_request_has_a_time_limit(opened, monkeypatch):
    monkeypatch.setattr(process, "TIMEOUT", 0.5)
    opened.request("allocate")
    with pytest.raises(RuntimeError, match=r"LiteRT did not finish within 0\.5 seconds"):
        opened.request("time", runs=10**9, seconds=60)


def test_an_exit_is_described_by_status_and_last_message():
    assert process.describe_exit(3, b"one\ntwo\n") == (
        "crashed in its own process with exit status 3. Its last message: 'two'."
    )
    assert process.describe_exit(-9, b"") == "crashed in its own process with signal SIGKILL."
