import numpy as np
import pytest

from keras_kd.losses import MaskedGeneration
from keras_kd.losses.masked_generator import MaskedGenerator
from keras_kd.losses.reduction import mean_per_sample
from tests import golden_numbers, gradients
from tests.golden_numbers import NEAR, channels_last


@pytest.mark.parametrize("dtype", golden_numbers.DTYPES)
@pytest.mark.parametrize(
    ("mask", "name", "alpha"),
    [("spatial", "mgd_spatial_l0.65_a2e-5", 2e-5), ("channel", "mgd_channel_l0.15_a7e-5", 7e-5)],
)
def test_it_gives_the_numbers_of_the_reference(mask, name, alpha, dtype):
    numbers = golden_numbers.load("golden_c")
    teacher, student, _ = golden_numbers.taps("golden_c", "features", dtype)
    kept = channels_last(numbers[f"in/mgd_mask_{mask}"]).astype(dtype)
    generator = MaskedGenerator(None, teacher.shape[-1], 0.5, "positions", 0, "generator")
    generator.inner.dtype_policy = generator.outer.dtype_policy = dtype
    generator.build(student.shape)
    for i, layer in ((1, generator.inner), (2, generator.outer)):
        kernel = numbers[f"in/mgd_conv{i}_weight_oihw"].transpose(2, 3, 1, 0)
        layer.set_weights([kernel, numbers[f"in/mgd_conv{i}_bias"]])
    loss = MaskedGeneration("a", "b")
    values, gradient = gradients.value_and_gradient(
        lambda x: mean_per_sample(loss(teacher, generator.generate(x, kept))) * alpha, student
    )
    np.testing.assert_allclose(values, numbers[f"out/{name}/per_sample"], rtol=NEAR[dtype])
    expected = channels_last(numbers[f"out/{name}/grad"])
    largest = np.abs(expected).max()
    np.testing.assert_allclose(gradient / len(values), expected, rtol=0, atol=NEAR[dtype] * largest)
