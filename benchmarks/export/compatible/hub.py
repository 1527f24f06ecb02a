"""Models of KerasHub in tiny configurations with random weights; none are downloaded."""

import functools

import numpy as np

from benchmarks.export.compatible.case import SAMPLES, Case, floats, integers, sparse

WORDS, LENGTH, SEGMENTS, SIDE = 50, 12, 2, 32
_TRANSFORMER = {
    "vocabulary_size": WORDS,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "max_sequence_length": LENGTH,
}
_DECODER = {
    "vocabulary_size": WORDS,
    "num_layers": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "hidden_dim": 16,
    "intermediate_dim": 32,
}
_FNET = {key: value for key, value in _TRANSFORMER.items() if key != "num_heads"}
_RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [3],
    "stackwise_num_filters": [64, 64],
    "stackwise_num_blocks": [1, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "basic_block",
}
_VIT = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
_MIT = {
    "layerwise_depths": [1, 1],
    "num_layers": 2,
    "layerwise_num_heads": [1, 2],
    "layerwise_sr_ratios": [2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3],
    "layerwise_strides": [4, 2],
    "hidden_dims": [8, 16],
}
#: By name: family, kind of the task, arguments of the backbone.
_MODELS = {
    "BERT": ("Bert", "TextClassifier", _TRANSFORMER),
    "RoBERTa": ("Roberta", "TextClassifier", _TRANSFORMER),
    "DistilBERT": ("DistilBert", "TextClassifier", _TRANSFORMER),
    "ALBERT": ("Albert", "TextClassifier", {**_TRANSFORMER, "embedding_dim": 8}),
    "DeBERTaV3": ("DebertaV3", "TextClassifier", _TRANSFORMER),
    "FNet": ("FNet", "TextClassifier", _FNET),
    "BERT, masked words": ("Bert", "MaskedLM", _TRANSFORMER),
    "GPT-2": ("GPT2", "CausalLM", _TRANSFORMER),
    "OPT": ("OPT", "CausalLM", _TRANSFORMER),
    "Llama": ("Llama", "CausalLM", _DECODER),
    "Gemma": ("Gemma", "CausalLM", {**_DECODER, "head_dim": 8}),
    "ResNet": ("ResNet", "ImageClassifier", _RESNET),
    "ViT": ("ViT", "ImageClassifier", _VIT),
    "MiT": ("MiT", "ImageClassifier", _MIT),
    "DenseNet": (
        "DenseNet",
        "ImageClassifier",
        {"stackwise_num_repeats": [1, 1], "growth_rate": 8},
    ),
}


def _build(family, task, arguments):
    import keras_hub

    if task == "ImageClassifier":
        arguments = {**arguments, "image_shape": (SIDE, SIDE, 3)}
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**arguments)
    # Without a preprocessor, the batches are arrays of numbers.
    classes = {} if task in ("CausalLM", "MaskedLM") else {"num_classes": 4}
    kind = getattr(keras_hub.models, f"{family}{task}")
    return kind(backbone=backbone, preprocessor=None, **classes)


def _inputs(model):
    """Return made-up inputs of a text model, by the names of its inputs."""
    mask = np.ones((SAMPLES, LENGTH), "int32")
    mask[::2, -3:] = 0  # Padding.
    every = {
        "token_ids": integers(WORDS, LENGTH, low=1),
        "segment_ids": np.zeros((SAMPLES, LENGTH), "int32"),
        "padding_mask": mask,
        "mask_positions": integers(LENGTH - 3, 2),
    }
    return {name: every[name] for name in model.input}


def _case(family, task, arguments):
    build = functools.partial(_build, family, task, arguments)
    if task == "ImageClassifier":
        return Case(build, floats(SIDE, SIDE, 3), integers(4), sparse())
    y = {"CausalLM": integers(WORDS, LENGTH), "MaskedLM": integers(WORDS, 2)}
    return Case(build, _inputs(build()), y.get(task, integers(4)), sparse())


MODELS = {name: functools.partial(_case, *one) for name, one in _MODELS.items()}
