"""Metrics that omit single elements of rows, compared with those of the elements alone."""

import keras
import numpy as np
import pytest

from keras_kd.training.element_metrics import is_mean_over_elements, takes_element_weights

metrics = keras.metrics
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, (16, 3)).astype("float32")
OUTPUTS = RNG.uniform(0.05, 0.95, (16, 3)).astype("float32")
KNOWN = RNG.random((16, 3)) < 0.7


def own(y, outputs):
    return keras.ops.mean(outputs - y, axis=-1)


MEANS = [
    metrics.BinaryAccuracy(),
    metrics.BinaryCrossentropy(label_smoothing=0.1),
    metrics.MeanAbsoluteError(),
    metrics.MeanAbsolutePercentageError(),
    metrics.MeanSquaredError(),
    metrics.MeanSquaredLogarithmicError(),
    metrics.LogCoshError(),
    metrics.Poisson(),
    metrics.Hinge(),
    metrics.SquaredHinge(),
    metrics.MeanMetricWrapper(keras.losses.huber),
]
WEIGHTED = [
    metrics.RootMeanSquaredError(),
    metrics.Precision(),
    metrics.Recall(thresholds=0.3),
    metrics.TruePositives(),
    metrics.TrueNegatives(),
    metrics.FalsePositives(),
    metrics.FalseNegatives(),
    metrics.AUC(),
    metrics.PrecisionAtRecall(0.5),
    metrics.RecallAtPrecision(0.5),
    metrics.SensitivityAtSpecificity(0.5),
    metrics.SpecificityAtSensitivity(0.5),
]
OTHERS = [
    metrics.CategoricalAccuracy(),
    metrics.CosineSimilarity(),
    metrics.F1Score(),
    metrics.R2Score(num_regressors=1),
    metrics.Precision(top_k=1),
    metrics.Recall(class_id=0),
    metrics.BinaryCrossentropy(name="other_axis"),
    metrics.MeanMetricWrapper(own),
    metrics.Mean(),
]


@pytest.mark.parametrize("metric", MEANS, ids=lambda metric: metric.name)
def test_the_mean_of_each_element_is_that_of_the_known_ones(metric):
    assert is_mean_over_elements(metric)
    labels, outputs = Y[..., None], OUTPUTS[..., None]
    metric.update_state(labels, outputs, sample_weight=KNOWN.astype("float32"))
    found = float(metric.result())
    metric.reset_state()
    metric.update_state(Y[KNOWN][:, None], OUTPUTS[KNOWN][:, None])
    np.testing.assert_allclose(found, metric.result(), rtol=1e-5)
    metric.reset_state()
    metric.update_state(labels, outputs, sample_weight=np.ones_like(Y))
    found = float(metric.result())
    metric.reset_state()
    metric.update_state(Y, OUTPUTS)
    np.testing.assert_allclose(found, metric.result(), rtol=1e-5)


@pytest.mark.parametrize("metric", WEIGHTED, ids=lambda metric: metric.name)
def test_weights_of_zero_omit_elements(metric):
    assert takes_element_weights(metric)
    assert not is_mean_over_elements(metric)
    metric.update_state(Y, OUTPUTS, sample_weight=KNOWN.astype("float32"))
    found = np.array(metric.result())
    metric.reset_state()
    metric.update_state(Y[KNOWN], OUTPUTS[KNOWN])
    np.testing.assert_allclose(found, metric.result(), rtol=1e-5)


def test_metrics_per_column_omit_elements():
    for kind, arguments in (
        (metrics.AUC, {"multi_label": True, "num_labels": 3}),
        (metrics.R2Score, {"class_aggregation": None}),
    ):
        metric = kind(**arguments)
        assert takes_element_weights(metric)
        metric.update_state(Y, OUTPUTS, sample_weight=KNOWN.astype("float32"))
        columns = []
        for i in range(3):
            single = metrics.AUC() if kind is metrics.AUC else metrics.R2Score()
            rows = KNOWN[:, i]
            single.update_state(Y[rows, i : i + 1], OUTPUTS[rows, i : i + 1])
            columns.append(float(single.result()))
        expected = np.mean(columns) if kind is metrics.AUC else columns
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", OTHERS, ids=lambda metric: metric.name)
def test_other_metrics_need_whole_rows(metric):
    if metric.name == "other_axis":
        metric = metrics.MeanMetricWrapper(keras.losses.binary_crossentropy, axis=1)
    assert not is_mean_over_elements(metric)
    assert not takes_element_weights(metric)
