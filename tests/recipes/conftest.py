import keras
import pytest


@pytest.fixture
def eager():
    """Run compiled functions eagerly, where tracing many models would take most of the time."""
    if keras.config.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
