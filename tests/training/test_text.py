"""Text in every form trains, evaluates and labels as a tensor does, or is refused by name."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_kd as kd
from keras_kd.training.text import text_arrays

TEXTS = ["a b", "c a", "b b c", "", "caf\u00e9 a", "c", "a a", "b"]
Y = np.array([0, 1, 1, 0, 1, 0, 0, 1])
VOCABULARY = ["a", "b", "c"]


def classifier(name, units, seed):
    """A classifier of token ids."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,), dtype="int64", name="ids")
    hidden = layers.GlobalAveragePooling1D()(layers.Embedding(6, units)(inputs))
    return keras.Model(inputs, layers.Dense(2)(hidden), name=name)


def vectorized(model):
    """The same of texts."""
    inputs = keras.Input((), dtype="string", name="text")
    lookup = layers.TextVectorization(vocabulary=VOCABULARY, output_sequence_length=4)
    return keras.Model(inputs, model(lookup(inputs)), name=model.name)


@functools.cache  # No weight changes.
def distiller(preprocessing=False):
    teacher = classifier("teacher", 8, 1)
    if preprocessing:
        lookup = layers.TextVectorization(vocabulary=VOCABULARY, output_sequence_length=4)
        teacher = kd.Teacher(teacher, preprocessing=lookup)
    else:
        teacher = vectorized(teacher)
    model = kd.Distiller(vectorized(classifier("student", 4, 0)), teacher)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model, teacher


FORMS = {
    "array": lambda: np.array(TEXTS),
    "objects": lambda: np.array(TEXTS, object),
    "bytes": lambda: np.array([text.encode() for text in TEXTS]),
    "objects of bytes": lambda: np.array([text.encode() for text in TEXTS], object),
    "list": lambda: list(TEXTS),
    "tuple": lambda: tuple(TEXTS),
}


@pytest.fixture(scope="module")
def expected():
    """What a tensor gives."""
    (model, teacher), x = distiller(), tf.constant(TEXTS)
    history = model.fit(x, Y, batch_size=8, verbose=0).history
    labels = kd.pseudo_label(teacher, x, 0.0)
    return history, model.predict(x, verbose=0), labels.classes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "preprocessing"), [*((form, False) for form in FORMS), ("list", True)]
)
def test_texts_in_every_form_are_read_as_a_tensor(form, preprocessing, expected):
    (model, teacher), texts = distiller(preprocessing), FORMS[form]
    history, predicted, classes = expected
    found = model.fit(texts(), Y, batch_size=8, validation_data=(texts(), Y), verbose=0).history
    for name, values in history.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["val_loss"], history["student_loss"], rtol=1e-5)
    np.testing.assert_allclose(model.predict(texts(), verbose=0), predicted, rtol=1e-5)
    loss = model.evaluate(texts(), Y, verbose=0)
    np.testing.assert_allclose(loss, history["student_loss"][0], rtol=1e-5)
    model.reset_metrics()
    np.testing.assert_allclose(model.train_on_batch(texts(), Y), history["loss"][0], rtol=1e-5)
    model.reset_metrics()
    np.testing.assert_allclose(model.test_on_batch(texts(), Y), loss, rtol=1e-5)
    assert kd.pseudo_label(teacher, texts(), 0.0).classes == classes


@pytest.mark.parametrize("form", ["array", "list"])
def test_texts_under_a_key(form, expected):
    (model, teacher), x = distiller(), {"text": FORMS[form]()}
    found = model.fit(x, Y, batch_size=8, verbose=0).history
    np.testing.assert_allclose(found["loss"], expected[0]["loss"], rtol=1e-5)
    assert kd.pseudo_label(teacher, x, 0.0).classes == expected[2]
    assert len(kd.screen_teachers(teacher, (x, Y), keep=1, print_fn=None).teachers) == 1


def test_batches_of_a_data_set(expected, tmp_path):
    (model, teacher), data = distiller(), tf.data.Dataset.from_tensor_slices((TEXTS, Y)).batch(8)
    cache = kd.KnowledgeCache.build(teacher, (TEXTS, Y), tmp_path, dtype="float32", verbose=0)
    for batches in (data, cache.join(data)):
        found = model.fit(batches, verbose=0).history
        np.testing.assert_allclose(found["loss"], expected[0]["loss"], rtol=1e-5)
    assert kd.pseudo_label(teacher, data, 0.0).classes == expected[2]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, i):
        return np.array(TEXTS), Y


@pytest.mark.parametrize("data", [Batches, lambda: iter([(np.array(TEXTS), Y)] * 2)])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_batches_that_keras_cannot_read_are_explained(method, data):
    model, _ = distiller()
    given = data() if data is Batches else (batch for batch in data())
    with pytest.raises(TypeError, match=r"Batches of text .*np\.array\(texts, dtype=object\)"):
        getattr(model, method)(given, verbose=0)


def test_a_list_of_lists_is_ambiguous():
    model, teacher = distiller()
    for call in (model.predict, lambda x: kd.pseudo_label(teacher, x)):
        with pytest.raises(TypeError, match=r"list of lists .*Received: a list of 2 lists"):
            call([["a", "b"], ["c", "a"]])


def test_a_preprocessing_of_one_entry_of_a_dict_is_explained():
    model, teacher = distiller(preprocessing=True)
    x, message = (
        {"text": np.array(TEXTS)},
        r"Teacher 'teacher': its `preprocessing` raised \w+Error",
    )
    for call in (
        lambda: model.fit(x, Y, verbose=0),
        lambda: kd.pseudo_label(teacher, x),
    ):
        with pytest.raises(ValueError, match=rf"^{message}.*\['text'\].*layer\(x\['text'\]\)"):
            call()


def test_other_data_stay_the_same():
    x, y = np.ones((2, 3)), [1, 2]
    for data in (x, {"a": x}, [x, x], (x, y), None, [], "path", np.array([None, 1], object)):
        same = text_arrays(data)
        pairs = zip(keras.tree.flatten(data), keras.tree.flatten(same), strict=True)
        assert type(same) is type(data)
        assert all(one is other for one, other in pairs)
    keyed = kd.Keyed(["a"], ["b"])
    assert text_arrays(keyed) is keyed
    with pytest.raises(ValueError, match="utf-8"):
        text_arrays([b"\xff"])
