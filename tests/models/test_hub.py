"""Models of KerasHub, in tiny configurations that need no download."""

import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.models.taps import Tap, TappedModel
from keras_kd.report.predictors import Predictor

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None, reason="KerasHub is not installed"
)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film", "plot"]
TEXTS = ["a good film", "a bad film", "good plot", "bad a plot film"] * 2
LABELS = np.array([1, 0, 1, 0] * 2)
SIZE = {"vocabulary_size": 10, "num_heads": 2, "max_sequence_length": 8, "dropout": 0.0}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
RNG = np.random.default_rng(0)
MASK = np.arange(8) < np.array([3, 8, 5, 2])[:, None]
TOKENS = {"token_ids": RNG.integers(5, 10, (4, 8)) * MASK, "padding_mask": MASK}


def hub():
    """`keras_hub.models`, imported only in the process that runs these tests: it takes seconds."""
    import keras_hub

    return keras_hub.models


def sizes(depth, width):
    return {**SIZE, "num_layers": depth, "hidden_dim": width, "intermediate_dim": 2 * width}


def stirred(model, seed=0):
    """The model with weights that are far from their small initial values."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0.0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def teacher():
    tokenizer = hub().BertTokenizer(vocabulary=WORDS, lowercase=True)
    preprocessor = hub().BertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    backbone = hub().BertBackbone(**sizes(2, 8), name="backbone")
    task = hub().BertTextClassifier(
        backbone=backbone, preprocessor=preprocessor, num_classes=2, dropout=0.0
    )
    return stirred(task, 1)


@pytest.fixture(scope="module")
def student():
    tokenizer = hub().DistilBertTokenizer(vocabulary=WORDS, lowercase=True)
    preprocessor = hub().DistilBertTextClassifierPreprocessor(tokenizer, sequence_length=8)
    backbone = hub().DistilBertBackbone(**sizes(1, 4), name="backbone")
    task = hub().DistilBertTextClassifier(
        backbone=backbone, preprocessor=preprocessor, num_classes=2, hidden_dim=4, dropout=0.0
    )
    return stirred(task, 2)


@pytest.fixture(scope="module")
def x(teacher):
    return {key: np.asarray(value) for key, value in teacher.preprocessor(TEXTS).items()}


def distill(student, teacher, losses, *data, **arguments):
    """The history of an epoch that changes no weight."""
    distiller = kd.Distiller(student, teacher, losses)
    distiller.compile(keras.optimizers.SGD(0.0), LOSS, run_eagerly=True)
    return distiller, distiller.fit(*data, **arguments, verbose=0).history


def part(model, name):
    """The output of a layer of the backbone, by Keras's own functions."""
    backbone = model.backbone
    return keras.Model(backbone.input, backbone.get_layer(name).output)


def divergence(teacher, student):
    """KL(teacher || student) of logits, over the last axis."""
    one, other = (np.asarray(keras.ops.log_softmax(np.asarray(v))) for v in (teacher, student))
    return (np.exp(one) * (one - other)).sum(-1)


def keys(model, x):
    return {key: x[key] for key in model.backbone.input}


def test_the_layers_of_a_backbone_are_taps(teacher, x):
    tap = Tap("backbone/transformer_layer_0")
    assert tap.name in [one.name for one in kd.taps(teacher)]
    outputs, found = TappedModel(teacher, [tap])(x)
    expected = part(teacher, "transformer_layer_0")(keys(teacher, x))
    np.testing.assert_allclose(found[tap], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs, teacher(x), rtol=1e-6)


def test_each_output_of_a_backbone_is_a_tap(teacher, x):
    taps = Tap("backbone:0"), Tap("backbone:1")
    found = TappedModel(teacher, taps)(x)[1]
    expected = teacher.backbone(keys(teacher, x))
    for tap, key in zip(taps, ("pooled_output", "sequence_output"), strict=True):
        np.testing.assert_allclose(found[tap], expected[key], rtol=1e-5, atol=1e-6)


def test_a_student_of_another_family_takes_its_own_keys(teacher, student, x):
    taps = "backbone/transformer_layer_1", "backbone/transformer_layer_0"
    losses = [kd.losses.SoftTargets(temperature=1), kd.losses.Hint(*taps, name="hint")]
    distiller, history = distill(student, teacher, losses, x, LABELS)
    kl = divergence(teacher(x), student(keys(student, x))).mean()
    np.testing.assert_allclose(history["soft_targets"], [kl], rtol=1e-4)
    target = part(teacher, "transformer_layer_1")(keys(teacher, x))
    own = part(student, "transformer_layer_0")(keys(student, x))
    projected = distiller.projectors["hint"](own)
    expected = np.mean(np.square(np.asarray(target) - np.asarray(projected)))
    np.testing.assert_allclose(history["hint"], [expected], rtol=1e-4)


def test_pairs_are_layers_of_the_backbones(teacher, student):
    pairs = kd.pair_taps(teacher, student)
    assert pairs == [
        ("backbone/transformer_layer_1", "backbone/transformer_layer_0"),
        ("backbone/pooled_dense", "pooled_dense"),
    ]


def test_texts_are_rejected_with_the_preprocessor_to_apply(teacher, student):
    with pytest.raises(ValueError, match=r"`x` of text.*dataset.map\(task.preprocessor\)"):
        distill(student, teacher, None, np.array(TEXTS), LABELS)
    data = tf.data.Dataset.from_tensor_slices((TEXTS, LABELS)).batch(4)
    with pytest.raises(ValueError, match="takes numbers.*Received: `x` of text"):
        distill(student, teacher, None, data)
    _, history = distill(student, teacher, None, data.map(teacher.preprocessor))
    assert np.isfinite(history["loss"]).all()


def test_a_cache_gives_the_losses_of_the_live_teacher(teacher, student, x, tmp_path):
    samples = tf.data.Dataset.from_tensor_slices((x, LABELS))
    data = kd.keyed(samples).batch(4)
    losses = [
        kd.losses.SoftTargets(),
        kd.losses.Hint("backbone/pooled_dense", "pooled_dense"),
    ]
    keras.utils.set_random_seed(0)
    _, live = distill(student, teacher, losses, samples.batch(4))
    taps = [None, "backbone/pooled_dense"]
    cache = kd.KnowledgeCache.build(
        teacher, data, tmp_path / "cache", taps, dtype="float32", verbose=0
    )
    keras.utils.set_random_seed(0)
    _, cached = distill(student, cache.teachers, losses, cache.join(data))
    for key, values in live.items():
        np.testing.assert_allclose(cached[key], values, rtol=1e-5, err_msg=key)


@pytest.mark.slow
def test_a_task_is_exported_evaluated_and_reported(student, x, tmp_path):
    own = keys(student, x)
    file = kd.export.to_tflite(student, tmp_path / "s.tflite", verification=(own, LABELS))
    found = kd.export.evaluate(file.path, (own, LABELS), model=student)
    assert found.agreement == 1
    assert found.max_difference < 1e-5
    expected = np.mean(np.argmax(student(own), -1) == LABELS)
    assert found.accuracy == expected
    predictor = Predictor("student", student)
    np.testing.assert_allclose(predictor.predict(x), student(own), rtol=1e-5, atol=1e-6)


def test_a_distiller_of_tasks_is_saved_and_continues(teacher, student, x, tmp_path):
    distiller, history = distill(student, teacher, kd.losses.SoftTargets(), x, LABELS)
    distiller.save(tmp_path / "distiller.keras")
    again = keras.saving.load_model(tmp_path / "distiller.keras")
    again.set_teachers(teacher)
    assert isinstance(again.student, hub().DistilBertTextClassifier)
    found = again.fit(x, LABELS, verbose=0).history
    np.testing.assert_allclose(found["loss"], history["loss"], rtol=1e-5)


def causal(depth, width, seed):
    backbone = hub().GPT2Backbone(**sizes(depth, width), name="backbone")
    return stirred(hub().GPT2CausalLM(backbone=backbone), seed)


def test_padding_weights_weigh_each_token_of_a_causal_language_model():
    teacher, student = causal(2, 8, 1), causal(1, 8, 2)
    labels = RNG.integers(0, 10, (4, 8))
    hint = kd.losses.Hint("backbone/transformer_layer_1", "backbone/transformer_layer_0")
    losses = [kd.losses.SoftTargets(temperature=1), hint]
    weights = MASK.astype("float32")
    _, history = distill(student, teacher, losses, TOKENS, labels, sample_weight=weights)
    kl = divergence(teacher(TOKENS), student(TOKENS))
    np.testing.assert_allclose(history["soft_targets"], [np.mean(kl * weights)], rtol=1e-4)
    hidden = (
        part(teacher, "transformer_layer_1")(TOKENS),
        part(student, "transformer_layer_0")(TOKENS),
    )
    steps = np.square(np.asarray(hidden[0]) - np.asarray(hidden[1])).mean(-1)
    np.testing.assert_allclose(history["hint"], [np.mean(steps * weights)], rtol=1e-4)


def test_the_shared_embedding_of_a_language_model_is_two_taps():
    model = causal(1, 8, 1)
    taps = [Tap("backbone/token_embedding"), Tap("token_embedding")]
    outputs, found = TappedModel(model, taps)(TOKENS)
    kernel = np.asarray(model.backbone.token_embedding.embeddings)
    np.testing.assert_allclose(found[taps[0]], kernel[TOKENS["token_ids"]], rtol=1e-6)
    np.testing.assert_allclose(found[taps[1]], outputs, rtol=1e-6)
    assert TappedModel(model, [Tap(None, logits=True)]).kinds[Tap(None, logits=True)] == "logits"


def masked(depth, seed, activation=None):
    """A language model of three masked positions, and its inputs."""
    task = hub().BertMaskedLM(backbone=hub().BertBackbone(**sizes(depth, 8), name="backbone"))
    task.get_layer("mlm_head").activation = keras.activations.get(activation)
    x = {**TOKENS, "segment_ids": np.zeros((4, 8), int), "mask_positions": [[0, 1, 2]] * 4}
    return stirred(task, seed), {key: np.asarray(value) for key, value in x.items()}


def test_pairs_of_a_masked_language_model_can_be_tapped():
    (teacher, x), (student, _) = masked(2, 1), masked(1, 2)
    names = {tap.name for tap in kd.taps(student)}
    assert "backbone/transformer_layer_0" in names
    assert "backbone/token_embedding" not in names  # The head calls it again.
    hint = kd.losses.Hint(taps="auto")
    _, history = distill(student, teacher, hint, x, RNG.integers(0, 10, (4, 3)))
    assert len(hint.teacher_tap) == len(hint.student_tap) == 3
    values = []
    for tap, other in zip(hint.teacher_tap, hint.student_tap, strict=True):
        hidden, expected = Tap(other), Tap(tap)
        one, two = TappedModel(teacher, [expected])(x)[1], TappedModel(student, [hidden])(x)[1]
        values.append(np.mean((one[expected] - two[hidden]) ** 2))
    np.testing.assert_allclose(history["hint"], [np.mean(values)], rtol=1e-4)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_weights_of_a_masked_language_model_weigh_its_masked_positions(activation):
    (teacher, x), (student, _) = masked(2, 1, activation), masked(1, 2, activation)
    labels, weights = (
        RNG.integers(0, 10, (4, 3)),
        np.array([[1, 1, 0]] * 3 + [[1, 0, 0]], "float32"),
    )
    loss = kd.losses.SoftTargets(temperature=1)
    distiller = kd.Distiller(student, teacher, loss)
    distiller.compile(
        keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", run_eagerly=True
    )
    history = distiller.fit(x, labels, sample_weight=weights, verbose=0).history
    one, other = teacher(x), student(x)
    kl = divergence(one, other) if activation is None else divergence(np.log(one), np.log(other))
    np.testing.assert_allclose(history["soft_targets"], [np.mean(kl * weights)], rtol=1e-4)


def test_an_image_classifier_learns_from_a_backbone_of_another_kind():
    resnet = hub().ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(16, 16, 3),
        name="backbone",
    )
    vit = hub().ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=(8, 8),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
        dropout_rate=0.0,
        attention_dropout=0.0,
        name="backbone",
    )
    teacher = hub().ResNetImageClassifier(backbone=resnet, num_classes=3)
    student = hub().ViTImageClassifier(backbone=vit, num_classes=3)
    images = RNG.normal(size=(2, 16, 16, 3)).astype("float32")
    _, history = distill(
        student, teacher, kd.losses.SoftTargets(temperature=1), images, np.array([0, 2])
    )
    kl = divergence(teacher(images, training=False), student(images, training=False)).mean()
    np.testing.assert_allclose(history["soft_targets"], [kl], rtol=1e-4, atol=1e-6)
    assert (
        len(kd.pair_taps(teacher, hub().ResNetImageClassifier(backbone=resnet, num_classes=2))) > 1
    )
