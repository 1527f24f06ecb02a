"""Teacher-Class Network on IMDB reviews: the 1,000 most frequent words, 500 of each review.

Texts become tokens; teacher and students have embeddings and convolutions over words. Four students
of 25,000 parameters mimic a teacher of 2.1 million, with a discriminator for each student if
`--adversarial` is given. Takes about ten minutes on two cores; `--quick` only checks that it runs.
"""

import functools

import keras
import tensorflow as tf
from keras import layers
from teacher_class_training import build_optimizer, compile_model, evaluate, parse, print_rows

import keras_kd as kd

WORDS, LENGTH = 1000, 500
LOSS = keras.losses.BinaryCrossentropy(from_logits=True)
METRIC = functools.partial(keras.metrics.BinaryAccuracy, threshold=0.0)
STUDENTS = 4
EPOCHS = (3, 4, 2)  # Of the teacher, the students and the tuning.


def main(arguments=None):
    options = parse(__doc__, __file__, arguments, EPOCHS, adversarial="a discriminator per student")
    train, test = load_reviews(options.quick)
    teacher_epochs, student_epochs, tuning_epochs = options.epochs

    print("1. Train the teacher on labels. With more epochs it overfits.")
    teacher = build_teacher()
    compile_model(teacher, train, teacher_epochs, 1e-3, LOSS, METRIC)
    teacher.fit(train, epochs=teacher_epochs, verbose=2)

    print("\n2. Train each student to mimic its chunk of the layer 'features', without labels.")
    students = kd.TeacherClass(
        teacher,
        "features",
        build_student,
        n=2 if options.quick else STUDENTS,
        discriminators=build_discriminator if options.adversarial else None,
        discriminator_optimizer=keras.optimizers.Adam(2e-4),
    )
    students.compile(build_optimizer(5e-3, train, student_epochs))
    students.fit(train, epochs=student_epochs, verbose=2)

    print("\n3. Assemble one model and tune it on labels and the teacher's outputs.")
    model = students.assemble(name="teacher_class_network")
    compile_model(model, train, tuning_epochs, 1e-3, LOSS, METRIC)
    before_tuning = evaluate(model, test)
    distiller = kd.Distiller(model, teacher, kd.losses.SoftTargets())
    compile_model(distiller, train, tuning_epochs, 1e-3, LOSS, METRIC)
    distiller.fit(train, epochs=tuning_epochs, verbose=2)
    model.save(options.out / "model.keras")

    print_rows(
        ("teacher", evaluate(teacher, test), teacher),
        ("students, without labels", before_tuning, model),
        ("students, tuned", evaluate(model, test), model),
    )


def load_reviews(quick):
    """Return training and test reviews as (tokens, label): the last words, padded with zeros."""
    splits = [f"{split}[:64]" if quick else split for split in ("train", "test")]
    train, test = (kd.datasets.load("imdb_reviews", x, None, shuffle=False) for x in splits)
    vectorize = layers.TextVectorization(WORDS, standardize=keep_words)
    vectorize.adapt(train.map(lambda text, label: text).batch(128))

    def tokenize(text, label):
        last = vectorize(text)[-LENGTH:]
        padded = tf.pad(tf.cast(last, "int32"), [[LENGTH - tf.size(last), 0]])
        return tf.ensure_shape(padded, (LENGTH,)), label

    train, test = (data.map(tokenize, tf.data.AUTOTUNE).cache() for data in (train, test))
    return train.shuffle(25_000, seed=0).batch(128).prefetch(2), test.batch(128)


def keep_words(text):
    """Convert to lower case and remove line breaks and punctuation."""
    text = tf.strings.regex_replace(tf.strings.lower(text), "<br />", " ")
    return tf.strings.regex_replace(text, "[^a-z0-9']+", " ")


def build_teacher():
    return keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            layers.Embedding(WORDS, 32),
            layers.Conv1D(64, 3, padding="same", activation="relu"),
            layers.Conv1D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling1D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(256, activation="relu", name="features"),
            layers.Dense(1),
        ],
        name="teacher",
    )


def build_student(size):
    """Return a student for a chunk of `size` units; its last layer has no activation."""
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Dropout(0.2)(layers.Embedding(WORDS, 16)(inputs))
    x = layers.Conv1D(48, 3, activation="relu")(x)
    pooled = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dropout(0.2)(layers.Concatenate()(pooled))
    return keras.Model(inputs, layers.Dense(size)(x))


def build_discriminator(size):
    parts = [layers.Dense(64), layers.LeakyReLU(), layers.Dense(1)]
    return keras.Sequential([keras.Input((size,)), *parts])


if __name__ == "__main__":
    main()
