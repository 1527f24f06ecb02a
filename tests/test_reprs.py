"""Results can be read at the prompt: a few short lines, without addresses or NumPy's types."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.compression import LayerPlan, LayerPlans, PipelineResult, Result, Stage, Training
from keras_kd.export import Attempt, Benchmark, Evaluation, Latency, LayerError, Score, TFLiteModel
from keras_kd.recipes.born_again import BornAgainResult
from keras_kd.recipes.distill_chain import DistillChainResult
from keras_kd.recipes.pseudo_label import PseudoLabels
from keras_kd.report import Entry, Report, Sample
from keras_kd.teachers.screen_teachers import RankedTeacher, ScreeningReport
from tests import toy

THIRD = np.float32(1 / 3)
SCORE = Score(
    accuracy=THIRD, agreement=0.9, max_difference=1e-7, mean_difference=0.1, task="classes"
)
EVALUATION = Evaluation(1000, {"logits": SCORE})
TWO = Evaluation(1000, {"logits": SCORE, "values": Score(mae=0.5, rmse=THIRD, r2=0.75)})
LATENCY = Latency(41.234567, 44.4, 42.2, 40.1, 0.031234, 24250.8, 200, 1, True, 70_000)
FILE = TFLiteModel("folder/model.tflite", "int8", ("image",), ("logits",), EVALUATION)
ENTRY = Entry("teacher", "Keras", THIRD, (0.3, 0.4), (0.5, None) * 50, 0.1, 1.0, 0.0, size=27_000)
PLANS = LayerPlans(
    [LayerPlan("conv", "Conv2D", "pruned"), LayerPlan("act", "ReLU", "kept", "x" * 99)]
)
HISTORY = {"loss": [0.5, THIRD], "val_loss": [0.25] * 200}
X, Y = toy.vectors(48)


def model(name="student", **options):
    return toy.mlp(name, **options)


def report():
    entries = ENTRY, Entry("student", "int8", THIRD, (0.3, 0.4), (), 0.1, 0.9, THIRD, size=7_000)
    about = {"machine": "x" * 200}
    samples = tuple(Sample(i, 1, 1, 2, 0.9, THIRD, np.zeros((8, 8, 1))) for i in range(24))
    names = tuple(map(str, range(100)))
    return Report("Title", entries, "teacher", "student", names, 1000, samples, 99, HISTORY, about)


def result():
    return Result(model(), HISTORY, PLANS)


def students():
    return kd.TeacherClass(model("teacher"), "hidden", lambda n: toy.mlp(f"s{n}", classes=n), n=2)


def deep():
    return keras.Sequential([keras.Input((4,)), *(keras.layers.ReLU() for _ in range(99))])


def pseudo_labels():
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return PseudoLabels(data, 900, 1000, tuple(range(1000)))


RESULTS = {
    "Score": lambda: SCORE,
    "Evaluation": lambda: EVALUATION,
    "Evaluation of two outputs": lambda: TWO,
    "Latency": lambda: LATENCY,
    "Benchmark": lambda: Benchmark((LATENCY,) * 2, 27_000, 10**6, 10**7, {"CONV_2D": 9}, 20),
    "Attempt": lambda: Attempt("int8", "too slow " * 9, 27_000, THIRD, 0.1, EVALUATION),
    "TFLiteModel": lambda: FILE,
    "LayerError": lambda: LayerError("block/conv", "CONV_2D", (1, 8, 8, 4), THIRD, 0.1),
    "Entry": lambda: ENTRY,
    "Sample": lambda: Sample(7, None, 1, 2, THIRD, 0.1, np.zeros((8, 8, 1))),
    "Report": report,
    "Result": result,
    "PipelineResult": lambda: PipelineResult(model(), HISTORY, (result(), result()), FILE),
    "LayerPlan": lambda: PLANS[1],
    "LayerPlans": lambda: LayerPlans(PLANS * 100),
    "Stage": lambda: Stage("prune", sparsity=0.8, data=(X, Y), optimizer=keras.optimizers.SGD()),
    "Training": lambda: Training(data=(X, Y), epochs=3, teachers=model(), loss=toy.sparse_loss()),
    "BornAgainResult": lambda: BornAgainResult((model(), model("b")), (keras.callbacks.History(),)),
    "DistillChainResult": lambda: DistillChainResult(model(), {"b": keras.callbacks.History()}),
    "PseudoLabels": pseudo_labels,
    "ScreeningReport": lambda: ScreeningReport(
        (RankedTeacher(kd.Teacher(model()), 0.1, THIRD, True),), 1000
    ),
    "RankedTeacher": lambda: RankedTeacher(kd.Teacher(model()), THIRD, 0.9, False),
    "Teacher": lambda: kd.Teacher(model(), classes=list(range(1000))),
    "Distiller": lambda: kd.Distiller(model(), model("teacher", seed=1)),
    "SelfDistiller": lambda: kd.SelfDistiller(model(), start=1),
    "MutualLearning": lambda: kd.MutualLearning([model("one"), model("other", seed=1)]),
    "DeepSupervision": lambda: kd.DeepSupervision(model(), ["hidden"]),
    "TeacherClass": students,
    "SoftTargets": lambda: kd.losses.SoftTargets(3.0),
    "Hint": lambda: kd.losses.Hint(taps=[("hidden", "hidden")]),
    "LogitNoise": lambda: kd.noise.LogitNoise(0.5, seed=0),
    "Fixed": lambda: kd.weighting.Fixed([0.25, 0.75]),
    "Screening": lambda: kd.weighting.Screening(keep=2),
    "Uniform": kd.weighting.Uniform,
    "taps": lambda: kd.taps(deep()),
    "tap": lambda: kd.taps(model())[0],
    "Description": lambda: kd.datasets.describe("digits"),
}


def is_readable(text):
    lines = text.splitlines()
    short = len(lines) <= 15 and max(map(len, lines)) <= 120
    return short and " object at 0x" not in text and "np.float" not in text and "array(" not in text


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_on_a_few_short_lines(name):
    text = repr(RESULTS[name]())
    assert is_readable(text), text


def test_a_cache_is_shown_with_its_teachers(tmp_path):
    data = tf.data.Dataset.from_tensor_slices(X)
    arguments = {"taps": [None, "hidden"], "verbose": 0}
    cache = kd.KnowledgeCache.build(model("teacher"), data, tmp_path / "c", **arguments)
    assert repr(cache).splitlines()[-1] == "  teacher 'teacher': the output, 'hidden'"
    assert "samples=48, dtype='float16'" in " ".join(repr(cache).split())
    assert is_readable(repr(cache.teachers[0]))
    tables = cache.html_tables()
    assert tables["Stored outputs"].rows == [("teacher", "the output, 'hidden'")]
    assert ("samples", "48") in tables["KnowledgeCache"].rows


def test_the_values_that_matter_are_shown():
    assert "accuracy=0.3333" in repr(EVALUATION)
    assert repr(kd.weighting.Fixed([0.25, 0.75])) == "Fixed(weights=[0.25, 0.75])"
    assert repr(PLANS) == "LayerPlans(1 pruned, 1 kept)"
    assert repr(Stage("prune", sparsity=0.8)) == "Stage(technique='prune', sparsity=0.8)"
    assert "last epoch={loss: 0.3333, val_loss: 0.25}" in " ".join(repr(result()).split())
    assert [line.split()[0] for line in repr(report()).splitlines()[3:]] == ["teacher", "student"]
    distiller = kd.Distiller(model(), model("teacher", seed=1), name="d")
    assert repr(distiller) == (
        "Distiller(name='d', student='student', teachers=['teacher'], losses=['soft_targets'])"
    )


#: Results that notebooks show as tables, with a cell of each.
IN_NOTEBOOKS = {
    "Evaluation": "0.3333",
    "Evaluation of two outputs": "values",
    "Benchmark": "41.23",
    "TFLiteModel": "int8",
    "Report": "33.33 % ± 5.00",
    "Result": "pruned",
    "PipelineResult": "model.tflite",
    "LayerPlans": "Conv2D",
    "LayerPlan": "ReLU",
    "ScreeningReport": "teacher",
    "taps": "(None, 4)",
    "Description": "digits",
}


@pytest.mark.parametrize("name", IN_NOTEBOOKS)
def test_a_notebook_shows_a_result_as_tables(name):
    html = RESULTS[name]()._repr_html_()
    assert IN_NOTEBOOKS[name] in html
    assert html.count("<table>") == html.count("</table>") == html.count("<caption") > 0


def test_a_notebook_shows_all_taps_and_the_sizes_of_a_shrunk_model():
    assert kd.taps(deep())._repr_html_().count("<tr>") == 100
    shrunk = kd.compression.shrink(model(units=8), 0.5)
    tables = shrunk.html_tables()
    assert [row[0] for row in tables["Size"].rows] == ["before", "after"]
    assert ("hidden", "channels", "shrunk", "4 of 8 remain") in tables["Layers"].rows
    assert "hidden" in shrunk.found._repr_html_()
