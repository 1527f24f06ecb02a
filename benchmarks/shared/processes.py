"""Processes that train together as the workers of one job, or alone."""

import json
import os
import socket
import subprocess
import sys

from benchmarks.paths import ROOT


def run_workers(specifications):
    """Run `benchmarks.shared.replica_process` once per specification, all at the same time.

    Returns:
        What each process prints.
    """
    command = [sys.executable, "-m", "benchmarks.shared.replica_process"]
    addresses, processes = free_addresses(len(specifications)), []
    for index, specification in enumerate(specifications):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task)}
        if len(addresses) == 1:
            environment.pop("TF_CONFIG")
        processes.append(
            subprocess.Popen(
                [*command, json.dumps(specification)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=environment,
            )
        )
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError(f"A process failed: {[process.returncode for process in processes]}")
    return outputs


def free_addresses(count):
    """Return addresses with free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses
