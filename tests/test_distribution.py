"""Two replicas on two logical devices, in a process of their own."""

import subprocess
import sys

SCRIPT = """
import tempfile
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras_kd as kd
from tests import toy

x, y = toy.data()

def train(strategy, noise=None):
    with strategy.scope():
        student = toy.cnn("student", regularizer="l2")
        student.get_layer("norm").trainable = False  # Its statistics are those of a replica.
        teachers = [toy.cnn("one", 6, seed=1), toy.cnn("two", 5, seed=2, activation="softmax")]
        losses = [kd.losses.SoftTargets(), kd.losses.Hint("conv", "conv")]
        keras.utils.set_random_seed(3)
        weighting = kd.weighting.CrossEntropy()
        model = kd.Distiller(student, teachers, losses, weighting=weighting, noise=noise)
        model.compile(keras.optimizers.SGD(0.1), toy.sparse_loss(), metrics=["accuracy"])
    weights = np.linspace(0, 2, 32)
    data = tf.data.Dataset.from_tensor_slices((x, y, weights)).batch(8)
    halved = kd.callbacks.LossWeightScheduler(lambda epoch, weight: weight / 2, "hint")
    history = model.fit(data, epochs=2, verbose=0, callbacks=[halved]).history
    assert history["hint.weight"] == [0.5, 0.25]
    assert model.distillation_losses[1].get_config()["weight"] == 0.25
    return model, history

two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
ones, one_history = train(tf.distribute.get_strategy())
twos, two_history = train(two)
pairs = zip(ones.get_weights(), twos.get_weights())
print("difference", max(float(np.max(np.abs(a - b))) for a, b in pairs))
gaps = [np.abs(np.subtract(one_history[name], two_history[name])) for name in one_history]
print("history", float(np.max(gaps)))

with tempfile.TemporaryDirectory() as folder:
    file = kd.export.to_tflite(twos.student, f"{folder}/student.tflite")
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    print("agreement", kd.export.evaluate(file, data, twos.student).agreement)

with two.scope():
    noise = kd.noise.LogitNoise(1.0, seed=7)

@tf.function
def draws():
    from keras_kd.distribution import replica_id
    return two.run(lambda: noise(tf.ones((1, 4)), replica=replica_id()))

a, b = two.experimental_local_results(draws())
c, d = two.experimental_local_results(draws())
print("distinct", len({tuple(np.asarray(v).ravel()) for v in (a, b, c, d)}))
"""


def test_two_replicas_give_what_one_device_gives_and_draw_noise_of_their_own():
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = dict(line.split() for line in result.stdout.splitlines() if len(line.split()) == 2)
    assert float(found["difference"]) < 1e-5
    assert float(found["history"]) < 1e-5
    assert found["agreement"] == "1.0"
    assert found["distinct"] == "4"
