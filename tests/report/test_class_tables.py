"""The tables of a page on classes."""

from keras_kd.report.changes import ClassChange, Confusion
from keras_kd.report.class_tables import class_table, confusion_matrix, frequent_confusions
from tests.report import reports

CHANGES = (ClassChange(4, 0, 1), ClassChange(2, 1, 0), ClassChange(0, 0, 0))
CONFUSIONS = (Confusion(0, 0, 4, 3), Confusion(0, 1, 0, 1), Confusion(1, 1, 1, 2))


def report(**changes):
    entries = (
        reports.entry("teacher", 0.9, per_class=(1.0, 0.5, None)),
        reports.entry("int8", 0.8, per_class=(0.75, 1.0, None)),
    )
    fields = {"entries": entries, "class_names": ("cat", "dog", "cow"), "changes": CHANGES}
    return reports.report(**{**fields, "confusions": CONFUSIONS, **changes})


def test_the_classes_that_lose_most_come_first():
    assert class_table(report()) == [
        ["class", "change", "teacher", "int8", "samples", "gained", "lost"],
        ["cat", "−25.00", "100.0 %", "75.0 %", "4", "0", "1"],
        ["cow", "–", "–", "–", "0", "0", "0"],
        ["dog", "+50.00", "50.0 %", "100.0 %", "2", "1", "0"],
    ]


def test_independent_labels_have_no_counts():
    table = class_table(report(task="labels", changes=(), confusions=()))
    assert table[0] == ["label", "change", "teacher", "int8"]
    assert confusion_matrix(report(changes=(), confusions=())) == []


def test_a_cell_shows_the_student_and_its_title_the_teacher_too():
    matrix = confusion_matrix(report())
    assert [[cell.text for cell in row] for row in matrix] == [
        ["3", "1", ""],
        ["", "2", ""],
        ["", "", ""],
    ]
    assert [cell.share for cell in matrix[0]] == [0.75, 0.25, 0]
    assert (matrix[0][0].kind, matrix[0][1].kind) == ("hit", "miss")
    assert matrix[0][1].title == "cat as dog: 1; teacher: 0"


def test_the_most_frequent_errors_are_listed_with_those_of_the_teacher():
    assert frequent_confusions(report()) == [("cat", "dog", 1, 0)]


def test_many_classes_have_no_matrix():
    names = tuple(map(str, range(21)))
    assert confusion_matrix(report(class_names=names)) == []
