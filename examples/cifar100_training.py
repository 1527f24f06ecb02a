"""The training of the CIFAR-100 example, as in RepDistiller and mdistiller, and the export."""

import importlib.util

import keras

import keras_kd as kd

EPOCHS, RATE = 240, 0.05
DROPS = (150, 180, 210)


def fit(model, name, train, test, options):
    steps = len(train)
    drops = [round(drop * options.epochs / EPOCHS) * steps - 1 for drop in DROPS]
    rates = [RATE, RATE / 10, RATE / 100, RATE / 1000]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(drops, rates)
    callbacks = [keras.callbacks.BackupAndRestore(options.out / f"{name}_backup")]
    if options.method == "dkd" and isinstance(model, kd.Distiller):
        callbacks.append(kd.callbacks.LossWeightScheduler(warmup, "decoupled_kd"))
    model.compile(
        keras.optimizers.SGD(schedule, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    print(f"\n{name}: {options.epochs} epochs of {steps} steps")
    training = {"epochs": options.epochs, "callbacks": callbacks, "verbose": 2}
    return model.fit(train, validation_data=test, **training).history


def warmup(epoch):
    return min((epoch + 1) / 20, 1.0)


def export(student, path, train, test):
    """Save the student, export it to int8 and return the metrics of the file."""
    student.save(f"{path}.keras")
    if importlib.util.find_spec("tensorflow") is None:
        print("The student is not exported: this needs TensorFlow, which is not installed.")
        return {"parameters": student.count_params()}
    file = kd.export.to_tflite(student, f"{path}.tflite", "int8", calibration=train)
    result = kd.export.evaluate(file, test, student)
    return {
        "int8_accuracy": result.accuracy,
        "int8_agreement": result.agreement,
        "int8_bytes": file.size,
        "parameters": student.count_params(),
    }
