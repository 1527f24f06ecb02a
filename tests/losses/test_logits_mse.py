import numpy as np

from keras_kd import losses


def test_a_file_with_the_former_name_is_loaded():
    config = {
        "module": "keras_kd.losses.logits_mse",
        "class_name": "LogitsMSE",
        "config": {"weight": 0.5, "teacher_tap": None, "student_tap": None, "name": "logits_mse"},
        "registered_name": "keras_kd>LogitsMSE",
    }
    loss = losses.deserialize(config)
    assert isinstance(loss, losses.OutputsMSE)
    assert (loss.name, float(loss.weight)) == ("logits_mse", 0.5)
    assert losses.get("logits_mse").name == "logits_mse"
    teacher, student = np.random.default_rng(0).normal(size=(2, 4, 3))
    np.testing.assert_array_equal(loss(teacher, student), losses.OutputsMSE()(teacher, student))
