import keras
import numpy as np
import pytest

import keras_kd as kd
from keras_kd.losses import ChannelWise
from tests import golden_numbers
from tests.losses.test_map_loss import X, Y, segmenter


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize("temperature", [1, 4])
def test_it_gives_the_numbers_of_the_reference(temperature, dtype):
    loss, name = ChannelWise("a", "b", temperature), f"cwd_tau{temperature}"
    golden_numbers.assert_golden(loss, name, "features", "golden_c", dtype)


def test_without_taps_it_compares_logits_also_of_a_softmax():
    def value(softmax):
        models = [segmenter("student", 4, 1), segmenter("teacher", 6, 2)]
        if softmax:
            models = [keras.Model(m.input, keras.layers.Softmax()(m.output)) for m in models]
        model = kd.Distiller(*models, ChannelWise())
        hard = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
        model.compile(keras.optimizers.SGD(0.0), hard, run_eagerly=True)
        return model.fit(X, Y, batch_size=6, verbose=0).history["channel_wise"]

    student, teacher = segmenter("student", 4, 1), segmenter("teacher", 6, 2)
    expected = np.mean(ChannelWise()(teacher(X), student(X)))
    np.testing.assert_allclose([value(False), value(True)], expected, rtol=1e-4)


def test_logits_of_other_classes_are_rejected():
    with pytest.raises(ValueError, match="ChannelWise: teacher output has shape"):
        ChannelWise().make_projector((None, 4, 4, 3), (None, 4, 4, 5))
