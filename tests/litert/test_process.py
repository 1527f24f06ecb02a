"""The child process: it ends with its object, and its crash is an error."""

import signal

import pytest

from keras_kd.litert import process
from tests.export import models


def open_file(make=models.cnn, **options):
    return process.ServerProcess(models.content(make), "'m.tflite'", threads=1, **options)


@pytest.fixture(autouse=True)
def no_idle_process():
    process.end_idle_processes()


@pytest.fixture
def opened():
    return open_file()


def test_the_process_of_a_closed_file_runs_the_next_one(opened):
    child, first = opened._process, opened.request("describe")
    opened.close()
    other = open_file(models.two_in_two_out)
    assert other._process is child
    assert other.request("describe") != first
    meanwhile = open_file()
    assert meanwhile._process is not child
    other.close()
    again = open_file()
    assert again._process is child
    assert again.request("describe") == first
    again.close()
    process.end_idle_processes()
    assert child.poll() is not None


def test_the_process_of_a_file_that_was_collected_runs_the_next_one():
    child = open_file()._process
    assert open_file()._process is child


def test_a_process_is_new_on_request(opened):
    child = opened._process
    opened.close()
    assert open_file(new=True)._process is not child


def test_at_most_one_process_is_idle(opened):
    other = open_file()
    opened.close()
    other.close()
    assert opened._process.poll() is None
    assert other._process.poll() is not None


def test_an_idle_process_survives_an_interruption_of_the_program(opened):
    child = opened._process
    opened.close()
    child.send_signal(signal.SIGINT)
    again = open_file()
    assert again._process is child
    assert "serving_default" in again.request("describe")


@pytest.mark.parametrize("how", ["error", "end", "fork"])
def test_a_process_that_may_be_damaged_runs_no_other_file(opened, how, monkeypatch):
    child = opened._process
    if how == "error":
        with pytest.raises(process.LiteRTError):
            opened.request("no_method")
        opened.request("describe")
    opened.close()
    if how == "end":
        child.kill()
        child.wait()
    if how == "fork":
        monkeypatch.setattr(process.os, "getpid", lambda: 0)
    assert open_file()._process is not child
    assert (child.poll() is None) == (how == "fork")


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
