"""Metrics that can omit single elements of rows of labels: one of several labels or targets."""

import keras

from keras_kd.models.keras_compat import metric_function
from keras_kd.training.labels import is_per_element

_OF_RATES = (
    keras.metrics.FalseNegatives,
    keras.metrics.FalsePositives,
    keras.metrics.TrueNegatives,
    keras.metrics.TruePositives,
    keras.metrics.AUC,
    keras.metrics.PrecisionAtRecall,
    keras.metrics.RecallAtPrecision,
    keras.metrics.SensitivityAtSpecificity,
    keras.metrics.SpecificityAtSensitivity,
)


def is_mean_over_elements(metric: keras.metrics.Metric) -> bool:
    """Whether a metric is the mean of a value of each element, such as `binary_accuracy`."""
    if not isinstance(metric, keras.metrics.MeanMetricWrapper):
        return False
    function, arguments = metric_function(metric)
    per_element = function is keras.metrics.binary_accuracy or is_per_element(function)
    return per_element and arguments.get("axis", -1) == -1


def takes_element_weights(metric: keras.metrics.Metric) -> bool:
    """Whether a metric takes a weight of each element, (batch, units), as `sample_weight`."""
    if isinstance(metric, (keras.metrics.Precision, keras.metrics.Recall)):
        return metric.top_k is None and metric.class_id is None
    if isinstance(metric, keras.metrics.R2Score):
        return metric.num_regressors == 0
    return isinstance(metric, (*_OF_RATES, keras.metrics.RootMeanSquaredError))
