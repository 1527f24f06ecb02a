import numpy as np

import keras_kd as kd
from keras_kd import losses
from tests import toy


def test_it_is_the_mean_squared_difference_of_each_sample_or_position():
    rng = np.random.default_rng(0)
    for shape in [(5, 7), (5, 3, 3, 4)]:
        teacher, student = rng.normal(size=(2, *shape))
        expected = ((teacher - student) ** 2).mean(axis=-1)
        np.testing.assert_allclose(losses.ChunkMimicry()(teacher, student), expected, rtol=1e-9)


def test_a_distiller_compares_hidden_taps_of_equal_shape():
    teacher, student = toy.mlp("teacher", seed=1), toy.mlp("student")
    loss = losses.ChunkMimicry(teacher_tap="hidden", student_tap="hidden")
    model = kd.Distiller(student, teacher, loss, student_loss_weight=0.0)
    model.compile("sgd", run_eagerly=True)
    x = np.ones((4, 5), "float32")
    hidden = [m.get_layer("hidden")(x) for m in (teacher, student)]
    expected = np.mean((hidden[0] - hidden[1]) ** 2)
    history = model.fit(x, verbose=0).history
    np.testing.assert_allclose(history["chunk_mimicry"][0], expected, rtol=1e-5)
