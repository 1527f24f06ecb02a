"""Joined teacher outputs: packing them into a batch, and finding them again."""

import keras
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.models.taps import Tap
from keras_kd.teachers.knowledge import (
    CacheError,
    JoinedInputs,
    joined_spec,
    locate_teacher_outputs,
    require_tap,
    tap_key,
    teacher_key,
    unpack_batch,
)
from tests import toy

OUTPUT = Tap(None, logits=True)
SPEC = keras.KerasTensor((None, 5), "float32")


@pytest.fixture(scope="module")
def teacher():
    return kd.Teacher(toy.mlp("teacher"))


def keys(teacher, *names, number=0):
    taps = {tap_key(name, "either"): None for name in names}
    return {teacher_key(number, teacher.name, str(teacher.fingerprint(SPEC))): taps}


def test_a_batch_is_unpacked():
    joined = JoinedInputs("x", {"000:t:a-b-": {"logits:": 1}})
    assert unpack_batch(joined) == ("x", joined.teacher_outputs)
    assert unpack_batch("x") == ("x", None)
    assert unpack_batch(("x", "y")) == (("x", "y"), None)


def test_the_specification_of_joined_data_is_found():
    x = tf.zeros((3, 5))
    joined = JoinedInputs(x, {"000:t:a-b-": {"logits:": x}})
    for element in (joined, (joined, x)):
        spec = joined_spec(tf.data.Dataset.from_tensors(element))
        assert isinstance(spec, JoinedInputs)
        assert spec.x.shape == (3, 5)
    assert joined_spec(tf.data.Dataset.from_tensors((x, x))) is None
    assert joined_spec([1, 2]) is None


def test_teachers_are_found_by_fingerprint_even_under_other_names(teacher):
    renamed = kd.Teacher(teacher.model, name="other")
    stored = {
        **keys(renamed, None, "hidden"),
        **keys(kd.Teacher(toy.mlp("b", seed=3)), None, number=1),
    }
    first, _ = sorted(stored)
    (found,) = locate_teacher_outputs([teacher], [[OUTPUT, Tap("hidden")]], stored, SPEC)
    assert found == {OUTPUT: (first, "either:"), Tap("hidden"): (first, "either:hidden")}


def test_a_missing_or_changed_teacher_is_named(teacher):
    changed = kd.Teacher(toy.mlp("teacher", seed=1))
    with pytest.raises(CacheError, match="'teacher' is not the one .*: its weights changed"):
        locate_teacher_outputs([changed], [[OUTPUT]], keys(teacher, None), SPEC)
    other = kd.Teacher(toy.mlp("other", seed=1))
    with pytest.raises(CacheError, match=r"outputs of \['teacher'\], but not of teacher 'other'"):
        locate_teacher_outputs([other], [[OUTPUT]], keys(teacher, None), SPEC)


def test_logits_and_values_are_different_taps():
    stored = {"logits:": 1, "values:hidden": 2, "either:b": 3}
    assert require_tap(stored, OUTPUT, "t") == "logits:"
    assert require_tap(stored, Tap("hidden"), "t") == "values:hidden"
    assert require_tap(stored, Tap("b"), "t") == require_tap(stored, Tap("b", True), "t")
    holds = "of teacher 't' it holds the output, 'b', 'hidden', and not "
    with pytest.raises(CacheError, match=f"{holds}the logits of 'hidden'. Build it with `taps`"):
        require_tap(stored, Tap("hidden", logits=True), "t")
    with pytest.raises(CacheError, match=f"{holds}the output"):
        require_tap(stored, Tap(None), "t")
