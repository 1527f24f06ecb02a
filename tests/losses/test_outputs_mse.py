import numpy as np

from keras_kd.losses import OutputsMSE


def test_it_is_the_mean_squared_difference_of_each_sample():
    teacher, student = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[3.0, 2.0], [0.0, 4.0]])
    np.testing.assert_array_equal(OutputsMSE()(teacher, student), [2.0, 8.0])
