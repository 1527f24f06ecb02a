"""Small models of common kinds and their data, for `export_formats`.

Each model is trained for a few epochs on real data, so that its accuracy is meaningful. A data
function takes `quick` and returns training and test arrays; a model function takes training arrays,
`quick` and a seed and returns a trained model.
"""

from functools import partial

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.shared.training import build_cnn, load_arrays, sparse_loss
from keras_kd.training.tf_data import disable_autotune

CLASSES, VOID = 11, 11  # Of CamVid.
WORDS, LENGTH = 1000, 200


def clothes(quick):
    train = load_arrays("fashion_mnist", "train[:10000]")
    return train, load_arrays("fashion_mnist", "test[:2000]")


def rows_of_clothes(quick):
    return tuple((x[..., 0], y) for x, y in clothes(quick))


def frames(quick):
    splits = ("train[:16]", "test[:8]") if quick else ("train", "test")
    pairs = (load_arrays("camvid_small", split) for split in splits)
    # Void pixels have no label.
    return tuple((x, np.where(y[..., 0] == VOID, -1, y[..., 0].astype(int))) for x, y in pairs)


def reviews(quick):
    splits = ("train[:256]", "test[:64]") if quick else ("train[:10000]", "test[:2000]")
    (x, y), (x_test, y_test) = (load_arrays("imdb_reviews", split) for split in splits)
    words = layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    words.adapt(x)
    tokens = [keras.ops.convert_to_numpy(words(part)).astype("int32") for part in (x, x_test)]
    return (tokens[0], y), (tokens[1], y_test)


def photographs(quick):
    splits = ("train[:64]", "test[:16]") if quick else ("train[:2000]", "test[:500]")
    pairs = (load_arrays("cifar10", split) for split in splits)
    return tuple((np.asarray(keras.ops.image.resize(x, (96, 96))), y) for x, y in pairs)


def train(model, x, y, quick, seed, loss=None, batch_size=128, epochs=4):
    """Train with Adam and a cosine schedule that decays to zero."""
    # With few images it takes more epochs until the accuracy is meaningful.
    epochs = 20 if quick else epochs
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(y) // batch_size))
    keras.utils.set_random_seed(seed)
    model.compile(keras.optimizers.Adam(schedule), loss or sparse_loss())
    samples = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(y), seed=seed)
    # Otherwise the end of a long epoch waits for the autotuning thread.
    model.fit(disable_autotune(samples.batch(batch_size).prefetch(2)), epochs=epochs, verbose=0)
    return model


def train_cnn(x, y, quick, seed):
    """Train a network with depthwise and transposed convolutions."""
    stack = [
        layers.Conv2D(16, 3, 2, padding="same", activation="relu"),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(32, 1, activation="relu"),
        layers.Conv2DTranspose(16, 3, 2, padding="same", activation="relu"),
        layers.MaxPooling2D(4),
        layers.Flatten(),
        layers.Dense(10),
    ]
    return train(keras.Sequential([layers.Input((28, 28, 1)), *stack]), x, y, quick, seed)


def train_unet(x, y, quick, seed):
    inputs = keras.Input(x.shape[1:])
    one = _block(_block(inputs, 8, 2), 8)
    two = _block(_block(one, 16, 2), 16)
    up = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(two), one])
    outputs = layers.Conv2D(CLASSES, 1)(_block(up, 16))
    outputs = layers.UpSampling2D(interpolation="bilinear")(outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model = keras.Model(inputs, outputs)
    return train(model, x, y, quick, seed, loss=loss, batch_size=8, epochs=6)


def _block(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def train_recurrent(layer, x, y, quick, seed):
    model = keras.Sequential([layers.Input((28, 28)), layer(48), layers.Dense(10)])
    return train(model, x, y, quick, seed)


def train_text_classifier(x, y, quick, seed):
    stack = [
        layers.Embedding(WORDS, 16),
        layers.Conv1D(32, 3, activation="relu"),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2),
    ]
    model = keras.Sequential([layers.Input((LENGTH,), dtype="int32"), *stack])
    return train(model, x, y, quick, seed)


def train_transformer(x, y, quick, seed):
    """Train two transformer blocks on the rows of an image as tokens."""
    inputs = keras.Input((28, 28))
    z = layers.Dense(32)(inputs)
    z = z + layers.Embedding(28, 32)(keras.ops.arange(28))
    for _ in range(2):
        normalized = layers.LayerNormalization()(z)
        z = z + layers.MultiHeadAttention(2, 16)(normalized, normalized)
        hidden = layers.Dense(64, activation="gelu")(layers.LayerNormalization()(z))
        z = z + layers.Dense(32)(hidden)
    outputs = layers.Dense(10)(layers.GlobalAveragePooling1D()(z))
    return train(keras.Model(inputs, outputs), x, y, quick, seed)


def train_teacher_class(x, y, quick, seed):
    """Train four students that mimic a teacher's layer, and assemble them."""
    teacher = train(build_cnn("teacher", (16, 32), 64, seed=seed), x, y, quick, seed)

    def student(size):
        inputs = keras.Input((28, 28, 1))
        z = layers.Conv2D(8, 3, 2, activation="relu")(inputs)
        z = layers.Conv2D(16, 3, 2, activation="relu")(z)
        return keras.Model(inputs, layers.Dense(size)(layers.Flatten()(z)))

    students = kd.TeacherClass(teacher, "features", student, n=4, mimic="output")
    students.compile(keras.optimizers.Adam(3e-3))
    students.fit(x, batch_size=128, epochs=1 if quick else 4, verbose=0)
    return students.assemble()


def train_mobilenet(alpha, x, y, quick, seed):
    """Train Keras's MobileNetV2 of width `alpha` at 96×96 pixels, from random weights."""
    model = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=alpha, weights=None, classes=10, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # The default of 0.999 needs thousands of steps.
    return train(model, x, y, quick, seed, batch_size=64, epochs=8)


#: By name: title, data, trained model.
MODELS = {
    "cnn": ("CNN, depthwise and transposed", clothes, train_cnn),
    "unet": ("U-Net", frames, train_unet),
    "lstm": ("LSTM", rows_of_clothes, partial(train_recurrent, layers.LSTM)),
    "gru": ("GRU", rows_of_clothes, partial(train_recurrent, layers.GRU)),
    "words": ("Embedding and Conv1D", reviews, train_text_classifier),
    "transformer": ("transformer", rows_of_clothes, train_transformer),
    "teacher_class": ("Teacher-Class Network, 4 students", clothes, train_teacher_class),
    "mobilenet": ("MobileNetV2", photographs, partial(train_mobilenet, 1.0)),
    "thin_mobilenet": ("MobileNetV2 0.35", photographs, partial(train_mobilenet, 0.35)),
}
