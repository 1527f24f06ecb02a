"""The table of a distiller."""

import numpy as np

from tests import toy
from tests.distillers.models import distiller, three_losses


def test_the_table_has_a_row_for_each_teacher_student_projector_and_loss():
    lines = []
    teacher, student = toy.mlp("big", units=6), toy.mlp("small")
    student.get_layer("head").trainable = False
    distiller(student, teacher, three_losses(), name="mine").summary(print_fn=lines.append)
    rows = [" ".join(line.split()) for line in lines]
    trained = sum(int(np.prod(w.shape)) for w in student.trainable_weights)
    assert rows[0] == 'Distiller "mine"'
    assert f"teacher (frozen) big {teacher.count_params()} 0 output, hidden, head" in rows
    assert f"student small {student.count_params()} {trained} output, hidden, head" in rows
    assert "projector hint_projector 54 54 hint" in rows
    assert "loss soft_targets output -> output, weight 1, for classes" in rows
    assert "loss hint_2 head -> head, weight 1" in rows


def test_arguments_of_keras_print_the_table_of_the_student_too():
    lines = []
    distiller().summary(print_fn=lambda text, line_break=True: lines.append(text), line_length=60)
    assert any("hidden (Dense)" in line for line in lines)
