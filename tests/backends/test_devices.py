"""Several devices give the weights of one."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ON_FOUR_DEVICES = """
import keras
import jax
import numpy as np

assert len(jax.devices()) == 4
keras.distribution.set_distribution(keras.distribution.DataParallel())

from tests.backends.cases import CASES

weights = np.load(r"{path}")
for name in ("hint_with_projector", "unlabeled", "batch_normalization", "class_of_students"):
    for i, weight in enumerate(CASES[name]()):
        np.testing.assert_allclose(weight, weights[f"{{name}}/{{i}}"], rtol=0, atol=1e-5)
    print(name)
"""


@pytest.mark.subprocess
@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() != "jax", reason="keras.distribution is for JAX")
def test_four_devices_give_the_weights_of_tensorflow_on_one():
    path = Path(__file__).parent / "tensorflow.npz"
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", ON_FOUR_DEVICES.format(path=path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.split()) == 4
