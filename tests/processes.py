"""Functions in processes of their own, which a server forks after its imports of TensorFlow."""

import multiprocessing
import os
import signal
import traceback

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.replicas"])


def run_processes(function, *arguments):
    """Run a function in one process for each tuple of arguments, at the same time.

    Returns:
        The result of each process, or `None` for one that was killed.
    """
    started = [_start(function, each) for each in arguments]
    return [_receive(*each) for each in started]


def _start(function, arguments):
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(sender, function, arguments))
    process.start()
    sender.close()
    return process, receiver


def _run(sender, function, arguments):
    try:
        sender.send((function(*arguments), None))
    except Exception:
        sender.send((None, traceback.format_exc()))
    os._exit(0)  # Open connections may keep a worker of TensorFlow from ending.


def _receive(process, receiver):
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        assert process.exitcode == -signal.SIGKILL
        return None
    process.join()
    assert error is None, error[-2000:]
    return result
