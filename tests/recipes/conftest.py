import pytest
import tensorflow as tf


@pytest.fixture
def eager():
    """Run compiled functions eagerly, where tracing many models would take most of the time."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
