"""Segmentation: the Teacher-Class Network on CamVid, where chunks are channels of a map.

The teacher is a small U-Net; each of four students, smaller U-Nets, learns what 8 of the 32
channels of its last map say. Places of no class ("void") are left out of loss and mean IoU.
Needs `camvid_small` in TFDS_DATA_DIR: the 701 frames of CamVid at 120 × 160, with masks of the
classes 0 to 10 and 11 for void. About fifteen minutes on two cores; `--quick` only shows that it
runs.
"""

import argparse
from pathlib import Path

import keras
from keras import layers

import keras_kd as kd

SHAPE, CLASSES, VOID = (120, 160, 3), 11, 11


def main():
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(options.seed)
    train, test = (
        kd.datasets.load("camvid_small", f"{split}[:16]" if options.quick else split, batch_size=8)
        for split in ("train", "test")
    )
    for_teacher, for_students, for_tuning = options.epochs

    print("1. The teacher learns from the masks.")
    teacher = teacher_model()
    compile_for_masks(teacher, train, for_teacher)
    teacher.fit(train, epochs=for_teacher, verbose=2)

    print("\n2. Each student learns 8 channels of the teacher's map 'features'; no masks.")
    students = kd.TeacherClass(teacher, "features", student_model, n=4)
    steps = for_students * int(train.cardinality())
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    students.compile(keras.optimizers.Adam(schedule))
    students.fit(train, epochs=for_students, verbose=2)

    print("\n3. One model of them: the maps side by side, and the teacher's classifier.")
    model = students.assemble(name="class")
    compile_for_masks(model, train, for_tuning)
    alone = model.evaluate(test, verbose=0)[1]

    print("\n4. The class is tuned on the masks.")
    model.fit(train, epochs=for_tuning, verbose=2)
    model.save(options.out / "class.keras")
    file = kd.export.to_tflite(model, options.out / "class.tflite", "int8", calibration=train)
    rows = [
        ("teacher", teacher.evaluate(test, verbose=0)[1], teacher),
        ("class, without masks", alone, model),
        ("class, tuned", model.evaluate(test, verbose=0)[1], model),
    ]
    for name, mean_iou, net in rows:
        print(f"{name:<24}{mean_iou:>8.2%} mean IoU of the test frames{net.count_params():>12,}")
    print(f"{file.path}: {file.size / 1000:.0f} kB")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs=3, help="of teacher, students, tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/teacher_class_camvid"))
    parser.add_argument("--quick", action="store_true", help="16 frames, one epoch")
    options = parser.parse_args()
    options.epochs = options.epochs or ((1, 1, 1) if options.quick else (30, 20, 15))
    return options


def teacher_model():
    inputs, x = unet((32, 64, 96))
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="features")(x)
    x = layers.Conv2D(CLASSES, 1)(layers.Dropout(0.2)(x))
    return keras.Model(inputs, layers.UpSampling2D(interpolation="bilinear")(x), name="teacher")


def student_model(size):
    """A student for a chunk of `size` channels; it ends without an activation."""
    inputs, x = unet((6, 12, 16))
    return keras.Model(inputs, layers.Conv2D(size, 1)(x))


def unet(widths):
    """A U-Net that begins at half the frame's size; gives its input and its last map."""
    x = inputs = keras.Input(SHAPE)
    skips = []
    for width in widths:
        x = block(block(x, width, strides=2), width)
        skips.append(x)
    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
        x = block(x, width)
    return inputs, x


def block(x, width, strides=1):
    x = layers.Conv2D(width, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def compile_for_masks(model, data, epochs):
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * int(data.cardinality()))
    model.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID),
        metrics=[keras.metrics.MeanIoU(CLASSES, ignore_class=VOID, sparse_y_pred=False)],
    )


if __name__ == "__main__":
    main()
