"""`tf.data` without its autotuning, for which the end of each epoch waits."""

import tensorflow as tf


def disable_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Without the autotuning of `tf.data`, unless the user asked for it.

    Its thread sleeps for ever longer times, and the end of an iteration at times waits until it
    wakes, the longer the longer the iteration was. Without it as many calls run in parallel as
    there are threads.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
