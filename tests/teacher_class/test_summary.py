"""The summary of a Teacher-Class Network."""

import keras

import keras_kd as kd
from tests import toy


def printed(model, **arguments):
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text), **arguments)
    return [" ".join(line.split()) for line in lines]


def network(**arguments):
    return kd.TeacherClass(
        toy.mlp("teacher", units=6),
        "hidden",
        lambda size: toy.mlp(f"student_of_{size}", classes=size),
        chunks=[4, 2],
        **arguments,
    )


def test_the_students_are_listed_with_their_chunks():
    model = network()
    rows, teacher = printed(model), model.representation.teacher.parameters
    size = model.students[1].count_params()
    assert rows[0] == f'TeacherClass: "{model.name}"'
    assert f"teacher (frozen) teacher {teacher} 0 hidden" in rows
    assert f"student student_of_2 {size} {size} output" in rows
    assert "student_1 2 units -> output 1" in rows
    assert rows[-1] == "Deployed: the students, connected by `assemble()`."


def test_discriminators_are_listed_with_their_losses():
    def discriminator(size):
        return keras.Sequential([keras.Input((size,)), keras.layers.Dense(1, name="dense")])

    rows = printed(network(discriminators=discriminator, adversarial_weight=0.25))
    assert sum(row.startswith("discriminator ") for row in rows) == 2
    assert "adversarial_1 discriminator -> output 0.25" in rows


def test_one_student_alone_can_be_listed():
    rows = printed(network(only=[1]))
    assert [row for row in rows if row.startswith("student_0")] == []


def test_arguments_of_keras_print_the_tables_of_the_students_too():
    rows = printed(network(), line_length=60)
    assert sum("hidden (Dense)" in row for row in rows) == 2
