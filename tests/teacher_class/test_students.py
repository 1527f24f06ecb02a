"""Students: one model per chunk, built and checked before training."""

import keras
import pytest
from keras import layers

from keras_kd.teacher_class.representation import make_representation
from keras_kd.teacher_class.students import (
    build_models,
    build_students,
    output_shapes,
    require_list_or_builder,
    require_separable,
    student_numbers,
)
from tests import toy
from tests.teacher_class.models import dense_teacher, student

CHUNKS = [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.fixture(scope="module")
def representation():
    return make_representation(dense_teacher(), "features")


def test_a_builder_builds_all_models_whatever_the_chosen_ones():
    sizes = []

    def build(size):
        sizes.append(size)
        return student(size)

    (model,) = build_models(build, [5, 3], [1], "students")
    assert model.output_shape == (None, 3)
    assert sizes == [5, 3]


def test_a_list_holds_all_models_or_only_the_chosen_ones():
    one, two = student(5), student(3)
    assert build_models([one, two], [5, 3], [1], "students") == [two]
    assert build_models([two], [5, 3], [1], "students") == [two]


def test_numbers_of_students():
    assert student_numbers(None, 3) == [0, 1, 2]
    assert student_numbers((2, 0), 3) == [2, 0]


@pytest.mark.parametrize("only", [1, ["a"], [], [2], [-1], [0, 0], "01"])
def test_unknown_numbers_of_students_are_rejected(only):
    with pytest.raises(ValueError, match="`only` must be numbers of students, from 0 to 1"):
        student_numbers(only, 2)


def shared(n):
    trunk, inputs = layers.Dense(3), keras.Input((6,))
    return [keras.Model(inputs, layers.Dense(4)(trunk(inputs))) for _ in range(n)]


@pytest.mark.parametrize(
    ("students", "sentence"),
    [
        (lambda: [student(4), student(5)], r"student 1 .* shape, \(None, 4\).*\(None, 5\)"),
        (lambda: [student(4)] * 3, "as many students as chunks, 2. Received: 3"),
        (lambda: shared(2), "must not share weights.*numbers 0 and 1 share"),
        (lambda: [student(4)] * 2, "must not share weights.*numbers 0 and 1 share"),
        (lambda: [student(4), keras.Sequential([layers.Dense(4)])], "Number 1 .* not built"),
        (lambda: [toy.mlp("a"), toy.mlp("b")], r"takes inputs of shape .*\(None, 5\)"),
        (lambda: [student(4), toy.mlp("b")], "must have the same inputs"),
        (lambda: [student(4), two_outputs()], r"student 1 .* one output .*\[\(None, 4\), "),
    ],
)
def test_students_that_do_not_fit_are_rejected(students, sentence, representation):
    with pytest.raises(ValueError, match=sentence):
        build_students(representation, students(), CHUNKS, [0, 1])


def two_outputs():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [layers.Dense(4)(inputs), layers.Dense(4)(inputs)])


def test_without_a_teacher_only_the_inputs_are_compared():
    models = [student(4), student(5)]
    assert build_students(None, models, CHUNKS, [0, 1]) == models
    assert [output_shapes(model) for model in models] == [[(None, 4)], [(None, 5)]]


def test_a_model_is_not_a_builder():
    with pytest.raises(TypeError, match="`students` must be a list of built models, or a function"):
        require_list_or_builder(student(8), "students")


def test_an_optimizer_that_clips_by_the_norm_of_all_students_is_rejected():
    sgd = keras.optimizers.SGD(0.1, global_clipnorm=1.0)
    for optimizer in (sgd, keras.optimizers.LossScaleOptimizer(sgd)):
        with pytest.raises(ValueError, match="`global_clipnorm`.*Use `clipnorm`"):
            require_separable([keras.optimizers.SGD(clipnorm=1.0), optimizer])
