"""Reviews: the Teacher-Class Network on IMDB, the 1,000 most frequent words, 500 of each review.

Texts become tokens; teacher and students have embeddings and convolutions over words. Four students
of 25,000 parameters mimic a teacher of 2.1 million, in `fit` with a discriminator each if
`--adversarial` is given. About ten minutes on two cores; `--quick` only shows that it runs.
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf
from keras import layers

import keras_kd as kd

WORDS, LENGTH = 1000, 500


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    train, test = reviews(options.quick)
    for_teacher, for_students, for_tuning = options.epochs

    print("1. The teacher learns from labels. More epochs, and it learns the reviews by heart.")
    teacher = teacher_model()
    compile_for_labels(teacher, train, for_teacher)
    teacher.fit(train, epochs=for_teacher, verbose=2)

    print("\n2. The students learn what the teacher's layer 'features' says; no labels.")
    students = kd.TeacherClass(
        teacher,
        "features",
        student_model,
        n=4,
        discriminators=discriminator if options.adversarial else None,
        discriminator_optimizer=keras.optimizers.Adam(2e-4),
    )
    steps = for_students * int(train.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    students.compile(keras.optimizers.Adam(schedule))
    students.fit(train, epochs=for_students, verbose=2)

    print("\n3. One model of them; then it is tuned on labels and the teacher's answers.")
    model = students.assemble(name="class")
    compile_for_labels(model, train, for_tuning)
    alone = model.evaluate(test, verbose=0)[1]
    distiller = kd.Distiller(model, teacher)
    compile_for_labels(distiller, train, for_tuning)
    distiller.fit(train, epochs=for_tuning, verbose=2)
    model.save(options.out / "class.keras")

    rows = [
        ("teacher", teacher.evaluate(test, verbose=0)[1], teacher),
        ("class, without labels", alone, model),
        ("class, tuned", model.evaluate(test, verbose=0)[1], model),
    ]
    for name, accuracy, net in rows:
        print(f"{name:<24}{accuracy:>8.2%} of the test reviews{net.count_params():>12,} parameters")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--adversarial", action="store_true", help="a discriminator per student")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/teacher_class_imdb"))
    parser.add_argument("--quick", action="store_true", help="256 reviews, one epoch")
    options = parser.parse_args()
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else (3, 4, 2))
    return options


def reviews(quick):
    """Training and test reviews as (tokens, label): the last words of each, nought before them."""
    some = "[:256]" if quick else ""
    train, test = (
        kd.datasets.load("imdb_reviews", split + some, batch_size=None, shuffle=False)
        for split in ("train", "test")
    )
    words = layers.TextVectorization(WORDS, standardize=only_words)
    words.adapt(train.map(lambda text, label: text).batch(128))

    def tokens(text, label):
        last = words(text)[-LENGTH:]
        padded = tf.pad(tf.cast(last, "int32"), [[LENGTH - tf.size(last), 0]])
        return tf.ensure_shape(padded, (LENGTH,)), label

    train, test = (data.map(tokens, tf.data.AUTOTUNE).cache() for data in (train, test))
    return train.shuffle(25_000, seed=0).batch(128).prefetch(2), test.batch(128)


def only_words(text):
    """Small letters, without marks and line breaks."""
    text = tf.strings.regex_replace(tf.strings.lower(text), "<br />", " ")
    return tf.strings.regex_replace(text, "[^a-z0-9']+", " ")


def teacher_model():
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


def student_model(size):
    """Words, what three in a row say most strongly and on the whole, a chunk of `size` units."""
    inputs = keras.Input((LENGTH,), dtype="int32")
    x = layers.Dropout(0.2)(layers.Embedding(WORDS, 16)(inputs))
    x = layers.Conv1D(48, 3, activation="relu")(x)
    ends = [layers.GlobalMaxPooling1D()(x), layers.GlobalAveragePooling1D()(x)]
    x = layers.Dropout(0.2)(layers.Concatenate()(ends))
    return keras.Model(inputs, layers.Dense(size)(x))


def discriminator(size):
    parts = [layers.Dense(64), layers.LeakyReLU(), layers.Dense(1)]
    return keras.Sequential([keras.Input((size,)), *parts])


def compile_for_labels(model, data, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, epochs * int(data.cardinality()))
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
    )


if __name__ == "__main__":
    main()
