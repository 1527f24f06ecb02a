"""Models of text, time series and structured data in the style of the Keras guides."""

import keras
from keras import layers, ops

from benchmarks.export.compatible.case import Case, binary, floats, integers, sparse

WORDS, LENGTH = 50, 12


@keras.saving.register_keras_serializable(package="keras_kd_benchmarks")
class TokenAndPositionEmbedding(layers.Layer):
    """The layer of the guide on text transformers: word and position embeddings, added."""

    def __init__(self, length, words, size, **kwargs):
        super().__init__(**kwargs)
        self.length, self.words, self.size = length, words, size
        self.tokens = layers.Embedding(words, size)
        self.positions = layers.Embedding(length, size)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(self.length))

    def get_config(self):
        own = {"length": self.length, "words": self.words, "size": self.size}
        return {**super().get_config(), **own}


def text_transformer():
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = _encode(TokenAndPositionEmbedding(LENGTH, WORDS, 16)(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def time_series_transformer():
    x = inputs = keras.Input((24, 2))
    for _ in range(2):
        normalized = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(normalized, normalized)])
        hidden = layers.Conv1D(8, 1, activation="relu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Conv1D(2, 1)(hidden)])
    x = layers.GlobalAveragePooling1D(data_format="channels_last")(layers.Dense(16)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Dense(16, activation="relu")(x)))


def bidirectional_lstm():
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(WORDS, 16)(inputs)
    x = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(8))(x)
    return keras.Model(inputs, layers.Dense(1)(x))


def sequence_to_sequence():
    """An encoder whose states start the decoder; a class for each target token."""
    source = keras.Input((LENGTH,), dtype="int32", name="source")
    target = keras.Input((8,), dtype="int32", name="target")
    x = layers.Embedding(WORDS, 16, name="source_embedding")(source)
    _, hidden, cell = layers.LSTM(16, return_state=True, name="encoder")(x)
    y = layers.Embedding(WORDS, 16, name="target_embedding")(target)
    y = layers.LSTM(16, return_sequences=True, name="decoder")(y, initial_state=[hidden, cell])
    return keras.Model([source, target], layers.Dense(WORDS, name="words")(y))


def wide_and_deep():
    inputs = {
        "age": keras.Input((1,), name="age"),
        "hours": keras.Input((1,), name="hours"),
        "job": keras.Input((1,), dtype="int32", name="job"),
    }
    job = layers.Flatten()(layers.Embedding(8, 4)(inputs["job"]))
    numbers = layers.Concatenate()([inputs["age"], inputs["hours"]])
    numbers = layers.BatchNormalization()(numbers)
    deep = layers.Dense(16, activation="relu")(layers.Concatenate()([numbers, job]))
    deep = layers.Dense(8, activation="relu")(deep)
    return keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([numbers, deep])))


def several_tasks():
    """Two inputs; classes, independent labels and numbers."""
    image, code = keras.Input((12, 12, 1), name="image"), keras.Input((3,), name="code")
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), code])
    x = layers.Dense(16, activation="relu")(x)
    heads = {"kind": 5, "tags": 3, "size": 2}
    outputs = {name: layers.Dense(units, name=name)(x) for name, units in heads.items()}
    return keras.Model({"image": image, "code": code}, outputs)


def _encode(x):
    x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 8)(x, x)]))
    hidden = layers.Dense(16)(layers.Dense(32, activation="relu")(x))
    return layers.LayerNormalization()(layers.Add()([x, hidden]))


def _several_tasks():
    y = {"kind": integers(5), "tags": integers(2, 3).astype("float32"), "size": floats(2)}
    loss = {"kind": sparse(), "tags": binary(), "size": "mse"}
    return Case(several_tasks, {"image": floats(12, 12, 1), "code": floats(3)}, y, loss)


def _wide_and_deep():
    x = {"age": floats(1), "hours": floats(1), "job": integers(8, 1)}
    return Case(wide_and_deep, x, integers(2, 1), binary())


def _sequence_to_sequence():
    x = {"source": integers(WORDS, LENGTH), "target": integers(WORDS, 8)}
    return Case(sequence_to_sequence, x, integers(WORDS, 8), sparse())


def _tokens(build, y, loss):
    return Case(build, integers(WORDS, LENGTH), y, loss)


MODELS = {
    "text transformer": lambda: _tokens(text_transformer, integers(2), sparse()),
    "time-series transformer": lambda: Case(
        time_series_transformer, floats(24, 2), integers(3), sparse()
    ),
    "bidirectional LSTM": lambda: _tokens(bidirectional_lstm, integers(2, 1), binary()),
    "sequence to sequence": _sequence_to_sequence,
    "wide and deep, dict inputs": _wide_and_deep,
    "two inputs, three outputs": _several_tasks,
}
