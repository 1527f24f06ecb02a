"""The summary of a distiller."""

import keras
import numpy as np

import keras_kd as kd
from tests import toy
from tests.distillers.models import distiller, three_losses


def printed(model):
    """The lines of a summary, with single spaces."""
    lines = []
    model.summary(print_fn=lines.append)
    return [" ".join(line.split()) for line in lines]


def test_the_summary_has_a_row_for_each_teacher_student_projector_and_loss():
    teacher, student = toy.mlp("big", units=6), toy.mlp("small")
    student.get_layer("head").trainable = False
    rows = printed(distiller(student, teacher, three_losses(), name="mine"))
    trained = sum(int(np.prod(w.shape)) for w in student.trainable_weights)
    assert rows[0] == 'Distiller: "mine"'
    assert f"teacher (frozen) big {teacher.count_params()} 0 output, hidden, head" in rows
    assert f"student small {student.count_params()} {trained} output, hidden, head" in rows
    assert "projector hint_projector 54 54 hint" in rows
    assert "student_loss labels -> output 0.5" in rows
    assert "soft_targets output -> output, for classes 1" in rows
    assert "hint_2 head -> head 1" in rows


def test_the_parameters_are_counted_as_keras_does():
    model = distiller(toy.mlp("small", units=8), toy.mlp("big", units=16), eager=False)
    model.student.get_layer("head").trainable = False
    assert "Trainable params: 48 (192.00 B)" in printed(model)
    assert "Non-trainable params: 36 (144.00 B)" in printed(model)
    model.fit(*toy.vectors(4), verbose=0)
    count = sum(int(np.prod(v.shape)) for v in model.optimizer.variables)
    assert any(row.startswith(f"Optimizer params: {count} (") for row in printed(model))


def test_each_student_of_mutual_learning_has_a_row():
    students = [toy.mlp("one"), toy.mlp("other", units=6)]
    rows = printed(kd.MutualLearning(students, kd.losses.Hint("hidden", "hidden")))
    assert f"student other {students[1].count_params()} {students[1].count_params()} hidden" in rows
    assert "one_hint hidden -> hidden 1" in rows
    assert "other_hint hidden -> hidden 1" in rows
    assert rows[-1] == "Deployed: one of the students."


def test_early_exits_and_their_loss_are_listed():
    model = kd.DeepSupervision(toy.mlp("student"), ["hidden"], exit_loss_weight=0.25)
    size = model.exits["hidden"].count_params()
    assert f"early exit hidden_exit {size} {size} hidden" in printed(model)
    assert "exit_loss labels -> output 0.25" in printed(model)
    model.compile("sgd", loss=None)
    assert not any(row.startswith(("exit_loss", "student_loss")) for row in printed(model))


def test_the_earlier_weights_are_the_teacher_of_self_distillation():
    rows = printed(kd.SelfDistiller(toy.mlp("student"), decay=0.9))
    assert any(row.startswith("teacher (frozen) student (earlier)") for row in rows)


def test_half_precision_takes_half_of_the_memory():
    student = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, dtype="float16")])
    model = kd.Distiller(student, toy.mlp("teacher", classes=8, units=64))
    assert "Trainable params: 48 (96.00 B)" in printed(model)


def test_arguments_of_keras_print_the_table_of_the_student_too():
    lines = []
    distiller().summary(print_fn=lambda text, line_break=True: lines.append(text), line_length=60)
    assert any("hidden (Dense)" in line for line in lines)
