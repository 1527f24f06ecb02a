"""Samples of the Teacher-Class Network benchmarks as arrays."""

from functools import lru_cache

import numpy as np
import tensorflow as tf
from keras import layers

import keras_kd as kd
from benchmarks.shared.training import load_arrays

#: Class of CamVid for pixels of no class.
VOID = 11


@lru_cache(maxsize=4)
def load_samples(data, split):
    """Return a split as arrays; reviews as their last 500 word indices, masks without void."""
    x, y = load_arrays(data, split)
    if data == "imdb_reviews":
        return tokenize(x), y
    if data == "camvid_small":
        return x, np.where(y[..., 0] == VOID, kd.UNLABELED, y[..., 0].astype("int32"))
    return x, y


def tokenize(reviews):
    """Return the indices of the last 500 words of each review, as in the authors' notebooks."""
    vectorize, rows = build_vocabulary(), np.zeros((len(reviews), 500), "int32")
    for i in range(0, len(reviews), 1000):
        for row, review in enumerate(vectorize(reviews[i : i + 1000]), i):
            last = review[-500:].numpy()
            rows[row, 500 - len(last) :] = last
    return rows


@lru_cache(maxsize=1)
def build_vocabulary():
    """Return a layer with the 1,000 most frequent words of the training reviews."""
    vectorize = layers.TextVectorization(1000, standardize=keep_words, ragged=True)
    vectorize.adapt(load_arrays("imdb_reviews", "train")[0])
    return vectorize


def keep_words(texts):
    """Convert to lower case and remove line breaks and punctuation."""
    texts = tf.strings.regex_replace(tf.strings.lower(texts), "<br />", " ")
    return tf.strings.regex_replace(texts, "[^a-z0-9']+", " ")
