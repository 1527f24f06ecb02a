"""A pipeline runs each stage from the best epoch of the last, and resumes after an interruption."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from tests import toy
from tests.compression import files, models
from tests.compression.runs import count_values, count_zeros, eagerly

Stage = kd.compression.Stage


def stages(epochs=1):
    return [
        Stage("distill", epochs=2),
        Stage("prune", sparsity=0.5, epochs=2, losses=[kd.losses.OutputsMSE()]),
        Stage("cluster", clusters=8, epochs=epochs),
        Stage("quantize_aware", epochs=1),
        Stage("export"),
    ]


def run(directory, which=None, student=None, **kwargs):
    x, y = toy.data(16)
    arguments = {
        "data": (x, y),
        "batch_size": 8,
        "validation_data": toy.data(16, seed=1),
        "teachers": toy.cnn("teacher", seed=1),
        "loss": toy.sparse_loss(),
        "metrics": ["accuracy"],
        "optimizer": keras.optimizers.Adam(0.01),
        "verbose": 0,
        **kwargs,
    }
    keras.utils.set_random_seed(0)
    student = student or toy.cnn("student", filters=6)
    which = stages() if which is None else which
    with eagerly():
        return kd.compression.pipeline(which, student, directory, **arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pipeline") / "run"
    return directory, run(directory)


def test_the_last_model_is_sparse_clustered_and_quantized(finished):
    _, result = finished
    distilled, pruned, clustered, _ = (stage.model for stage in result.stages)
    kernels = [m.get_layer("features").kernel for m in (distilled, pruned, clustered)]
    assert [count_zeros(kernel) for kernel in kernels] == [0, 24, 24]
    assert count_values(kernels[2]) == 8
    in_file = next(k for k in files.kernels(result.file.path) if k.size == 48)
    assert count_zeros(in_file) >= 24
    assert count_values(in_file) <= 8
    assert result.file.verification is not None


def test_each_stage_starts_from_the_best_epoch_of_the_last(finished):
    _, result = finished
    for stage in result.stages[:3]:
        stage.model.compile(loss=toy.sparse_loss(), run_eagerly=True)
        loss = stage.model.evaluate(*toy.data(16, seed=1), verbose=0)
        np.testing.assert_allclose(loss, min(stage.history["val_loss"]), rtol=1e-5)


def test_the_history_contains_all_stages(finished):
    _, result = finished
    history = result.history
    names = ["distill"] * 2 + ["prune"] * 2 + ["cluster", "quantize_aware"]
    assert history["stage"] == names
    assert history["epoch"] == [1, 2, 1, 2, 1, 1]
    assert {len(values) for values in history.values()} == {6}
    assert history["sparsity"][:2] == [None, None]
    assert history["soft_targets"][2] is None
    assert history["outputs_mse"][2] is not None


def test_a_finished_pipeline_is_loaded_without_training(finished, monkeypatch):
    directory, result = finished
    monkeypatch.setattr(kd.Distiller, "fit", None)
    again = run(directory)
    assert again.history == json.loads(json.dumps(result.history))
    assert again.file.outputs == result.file.outputs
    x, _ = toy.data(8)
    for one, other in zip(result.stages, again.stages, strict=True):
        np.testing.assert_array_equal(one.model(x), other.model(x))
        assert one.layers == other.layers


class KilledError(Exception):
    pass


def test_an_interrupted_pipeline_resumes_after_the_last_finished_stage(tmp_path, finished):
    def kill(epoch, logs):
        raise KilledError

    distill, prune, *_ = stages()
    callback = keras.callbacks.LambdaCallback(on_epoch_end=kill)
    killed = [distill, Stage("prune", **prune.arguments, callbacks=callback)]
    with pytest.raises(KilledError):
        run(tmp_path, killed)
    assert [path.name for path in tmp_path.iterdir()] == ["01-distill"]
    written = (tmp_path / "01-distill" / "student.keras").stat().st_mtime_ns
    resumed = run(tmp_path, [distill, prune])
    assert (tmp_path / "01-distill" / "student.keras").stat().st_mtime_ns == written
    _, uninterrupted = finished
    assert resumed.history["stage"] == uninterrupted.history["stage"][:4]
    for one, other in zip(resumed.stages, uninterrupted.stages[:2], strict=True):
        for resumed_weight, weight in zip(one.model.weights, other.model.weights, strict=True):
            np.testing.assert_array_equal(resumed_weight, weight)


def content(directory):
    """When each file was written last."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


def relabeled(seed):
    x, y = toy.data(16, seed=seed)
    return x, y[::-1].copy()


@pytest.mark.parametrize(
    ("change", "folder", "names"),
    [
        ({"which": stages(epochs=3)}, "03-cluster", ["epochs"]),
        ({"student": toy.cnn("student", filters=5)}, "01-distill", ["student"]),
        ({"student": toy.cnn("student", filters=6, seed=3)}, "01-distill", ["student"]),
        ({"teachers": toy.cnn("teacher", seed=2)}, "01-distill", ["teachers"]),
        ({"teachers": [toy.cnn("teacher", seed=1)] * 2}, "01-distill", ["teachers"]),
        ({"data": relabeled(0)}, "01-distill", ["data"]),
        ({"validation_data": relabeled(1)}, "01-distill", ["validation_data"]),
        ({"loss": "sparse_categorical_crossentropy"}, "01-distill", ["loss"]),
        ({"optimizer": keras.optimizers.Adam(0.02)}, "01-distill", ["optimizer"]),
        ({"student_loss_weight": 0.0}, "01-distill", ["student_loss_weight"]),
    ],
)
def test_other_models_data_and_arguments_are_rejected_and_files_kept(
    finished, change, folder, names
):
    directory, _ = finished
    before = content(directory)
    with pytest.raises(ValueError, match=rf"{folder}' contains .* it differs in \[.*\]. Pass") as e:
        run(directory, **change)
    assert f"it differs in {names}" in str(e.value)
    assert content(directory) == before


def test_equal_models_data_and_another_verbosity_are_accepted(finished, monkeypatch):
    directory, result = finished
    monkeypatch.setattr(kd.Distiller, "fit", None)
    keras.utils.set_random_seed(9)
    renamed = keras.models.clone_model(toy.cnn("student", filters=6))
    renamed.set_weights(toy.cnn("student", filters=6).get_weights())
    again = run(directory, student=renamed, optimizer=keras.optimizers.Adam(0.01), verbose=2)
    assert again.history == json.loads(json.dumps(result.history))


def batches(seed):
    return tf.data.Dataset.from_tensor_slices(toy.data(16)).shuffle(16, seed=seed).batch(8)


@pytest.mark.parametrize("seed", [None, 1])
def test_a_shuffled_data_set_is_recognized(tmp_path, seed):
    distill = [Stage("distill", epochs=1)]
    first = run(tmp_path, distill, data=batches(seed)).model
    again = run(tmp_path, distill, data=batches(seed)).model
    for one, other in zip(again.weights, first.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match=r"differs in \['data'\]"):
        run(tmp_path, distill, data=batches(seed).map(lambda x, y: (x, (y + 1) % 4)))


def test_data_that_cannot_be_compared_are_reported(tmp_path):
    def random():
        numbers = tf.data.Dataset.random(rerandomize_each_iteration=True).take(16)
        image = lambda i: tf.random.stateless_normal((6, 6, 1), [i, 0])  # noqa: E731
        return numbers.map(lambda i: (image(i), i % 4)).batch(8)

    distill = [Stage("distill", epochs=1)]
    run(tmp_path, distill, data=random())
    with pytest.warns(
        UserWarning, match=r"01-distill' is reused. Of \['data'\] only the structure"
    ):
        run(tmp_path, distill, data=random())


def test_another_preprocessing_is_found_on_the_data_and_random_ones_are_reported(tmp_path):
    def teacher(limit):
        clip = lambda x: keras.ops.clip(x, -limit, limit) / 1e5  # noqa: E731
        return kd.Teacher(toy.cnn("teacher", seed=1), preprocessing=clip)

    x, y = toy.data(16)
    x[3, 2, 2] = 1e6  # Beyond made-up samples.
    distill, samples = [Stage("distill", epochs=1)], tf.data.Dataset.from_tensor_slices((x, y))
    data = samples.shuffle(16).batch(8)
    run(tmp_path / "s", distill, data=data, teachers=teacher(2e6))
    with pytest.raises(ValueError, match=r"it differs in \['teachers'\]"):
        run(tmp_path / "s", distill, data=data, teachers=teacher(5e5))
    numbers = tf.data.Dataset.random(rerandomize_each_iteration=True).take(16)
    random = numbers.map(lambda i: (tf.random.stateless_normal((6, 6, 1), [i, 0]), 1)).batch(8)
    run(tmp_path / "r", distill, data=random, teachers=teacher(2e6))
    with pytest.warns(UserWarning, match="preprocessing of its teachers could be compared on made"):
        run(tmp_path / "r", distill, data=random, teachers=teacher(2e6))


def test_a_folder_of_another_version_is_rejected(tmp_path):
    run(tmp_path, [Stage("distill", epochs=1)])
    path = tmp_path / "01-distill" / "stage.json"
    written = json.loads(path.read_text())
    written["about"] = {"technique": "distill", "student": [[3, 3, 1, 6]], "before": {}}
    path.write_text(json.dumps(written))
    with pytest.raises(ValueError, match="01-distill' contains a stage that another version"):
        run(tmp_path, [Stage("distill", epochs=1)])


def test_the_stored_student_is_a_plain_file(finished):
    directory, result = finished
    model = keras.models.load_model(directory / "02-prune" / "student.keras")
    x, _ = toy.data(8)
    np.testing.assert_array_equal(model(x), result.stages[1].model(x))


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ([], "`stages` must be a list of kd.compression.Stage"),
        (["prune"], "`stages` must be a list"),
        ([Stage("quantize_aware"), Stage("prune")], "Received: 'prune' after 'quantize_aware'"),
        ([Stage("export"), Stage("prune")], "Received: 'prune' after 'export'"),
    ],
)
def test_stages_that_cannot_follow_each_other_are_rejected(tmp_path, which, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, which, student=toy.mlp("student"))


def test_a_subclassed_student_is_rejected_where_a_stage_needs_tf_keras(tmp_path):
    which = [Stage("prune", engine="tfmot", sparsity=0.5, epochs=1)]
    with pytest.raises(ValueError, match="which is subclassed"):
        run(tmp_path, which, student=models.subclassed())


@pytest.mark.slow
def test_without_labels_the_best_epoch_is_that_of_the_distillation_loss(tmp_path):
    teacher, held_out = toy.cnn("teacher", filters=8, seed=1), toy.data(16, seed=1)[0]
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 50.0 * epoch)
    diverging = Stage("distill", epochs=2, optimizer=keras.optimizers.SGD(0.0), callbacks=[rates])
    arguments = {"loss": None, "metrics": None, "validation_data": (held_out,)}
    result = run(tmp_path / "a", [diverging], toy.cnn("student"), teachers=teacher, **arguments)
    best = kd.Distiller(result.model, teacher, "soft_targets")
    best.compile(run_eagerly=True)
    losses = result.history["val_loss"]
    assert losses[0] < losses[1] / 10
    np.testing.assert_allclose(best.evaluate(held_out, verbose=0), min(losses), rtol=1e-4)
    cache = kd.KnowledgeCache.build(teacher, toy.data(16)[0], tmp_path / "c", verbose=0)
    joined = cache.join(toy.data(16)[0]).batch(8)
    cached = {"teachers": cache.teachers, "data": joined, **arguments}
    with pytest.warns(UserWarning, match="nothing to evaluate"):
        result = run(tmp_path / "b", [Stage("distill", epochs=1)], toy.cnn("student"), **cached)
    assert "val_loss" not in result.history


def test_a_student_is_shrunk_and_trained_step_by_step(tmp_path):
    which = [
        Stage("shrink", ratio=0.7, epochs=1),
        Stage("shrink", ratio=0.5, importance="taylor", epochs=1),
        Stage("export"),
    ]
    result = run(tmp_path / "a", which)
    widths = [stage.model.get_layer("conv").filters for stage in result.stages]
    assert widths == [5, 3]
    assert ("conv", "shrunk") in [(p.name, p.action) for p in result.stages[0].layers]
    assert result.history["stage"] == ["shrink", "shrink"]
    again = run(tmp_path / "a", which)
    for one, other in zip(result.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ratio": 1.5}, "`ratio` must be in"),
        ({"max_bytes": 10}, "`max_bytes` must be at least"),
        ({"ratio": 0.5, "skip": ["no"]}, "`skip` must name layers"),
    ],
)
def test_a_stage_that_cannot_shrink_is_rejected_before_any_training(tmp_path, arguments, message):
    which = [Stage("distill", epochs=1), Stage("shrink", epochs=1, **arguments)]
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "a", which)
    assert not (tmp_path / "a").exists()
