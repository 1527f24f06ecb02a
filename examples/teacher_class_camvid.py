"""Teacher-Class Network on CamVid: segmentation, where chunks are channels of a map.

The teacher is a small U-Net; each of four students, smaller U-Nets, learns 8 of the 32 channels of
its last map. Pixels of no class ("void") are ignored by the loss and the mean IoU. Needs
`camvid_small` in TFDS_DATA_DIR: the 701 frames of CamVid at 120 × 160, with masks of the classes 0
to 10 and 11 for void. Takes about fifteen minutes on two cores; `--quick` only checks that it runs.
"""

import functools

import keras
from keras import layers
from teacher_class_training import build_optimizer, compile_model, evaluate, parse, print_rows

import keras_kd as kd

SHAPE, CLASSES, VOID = (120, 160, 3), 11, 11
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=VOID)
METRIC = functools.partial(keras.metrics.MeanIoU, CLASSES, ignore_class=VOID, sparse_y_pred=False)
STUDENTS = 4
EPOCHS = (30, 20, 15)  # Of the teacher, the students and the tuning.


def main(arguments=None):
    options = parse(__doc__, __file__, arguments, EPOCHS)
    train, test = (
        kd.datasets.load("camvid_small", f"{split}[:2]" if options.quick else split, batch_size=8)
        for split in ("train", "test")
    )
    teacher_epochs, student_epochs, tuning_epochs = options.epochs

    print("1. Train the teacher on masks.")
    teacher = build_teacher()
    compile_model(teacher, train, teacher_epochs, 3e-3, LOSS, METRIC)
    teacher.fit(train, epochs=teacher_epochs, verbose=2)

    print("\n2. Train each student to mimic its channels of the map 'features', without masks.")
    count = 2 if options.quick else STUDENTS
    students = kd.TeacherClass(teacher, "features", build_student, n=count)
    students.compile(build_optimizer(5e-3, train, student_epochs))
    students.fit(train, epochs=student_epochs, verbose=2)

    print("\n3. Assemble the students' maps and the teacher's classifier to one model.")
    model = students.assemble(name="teacher_class_network")
    compile_model(model, train, tuning_epochs, 3e-3, LOSS, METRIC)
    before_tuning = evaluate(model, test)

    print("\n4. Tune the whole model on masks and export it to int8.")
    model.fit(train, epochs=tuning_epochs, verbose=2)
    model.save(options.out / "model.keras")
    file = kd.export.to_tflite(model, options.out / "model.tflite", "int8", calibration=train)
    rows = [
        ("teacher", evaluate(teacher, test), teacher),
        ("students, without masks", before_tuning, model),
        ("students, tuned", evaluate(model, test), model),
    ]
    print_rows(*rows, metric="test mean IoU")
    print(f"{file.path}: {file.size / 1000:.0f} kB")


def build_teacher():
    inputs, x = unet((32, 64, 96))
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="features")(x)
    x = layers.Conv2D(CLASSES, 1)(layers.Dropout(0.2)(x))
    return keras.Model(inputs, layers.UpSampling2D(interpolation="bilinear")(x), name="teacher")


def build_student(size):
    """Return a student for a chunk of `size` channels; its last layer has no activation."""
    inputs, x = unet((6, 12, 16))
    return keras.Model(inputs, layers.Conv2D(size, 1)(x))


def unet(widths):
    """Return input and last map of a U-Net that works at half the frame size."""
    x = inputs = keras.Input(SHAPE)
    skips = []
    for width in widths:
        x = conv_block(conv_block(x, width, strides=2), width)
        skips.append(x)
    for width, skip in zip(widths[-2::-1], skips[-2::-1], strict=True):
        x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
        x = conv_block(x, width)
    return inputs, x


def conv_block(x, filters, strides=1):
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


if __name__ == "__main__":
    main()
