"""Pruning, clustering, and quantization-aware training of Keras 3 students, with distillation."""

from keras_kd.compression.channel_groups import ChannelGroup, ChannelGroups, channel_groups
from keras_kd.compression.cluster import cluster
from keras_kd.compression.layer_plan import LayerPlan, LayerPlans, Result
from keras_kd.compression.model_size import ModelSize
from keras_kd.compression.pipeline import PipelineResult, pipeline
from keras_kd.compression.prune import prune
from keras_kd.compression.quantize_aware import quantize_aware
from keras_kd.compression.shrink import ShrinkResult, shrink
from keras_kd.compression.stage import Stage
from keras_kd.compression.tfmot.convert import to_keras, to_tf_keras
from keras_kd.compression.training import Training

__all__ = [
    "ChannelGroup",
    "ChannelGroups",
    "LayerPlan",
    "LayerPlans",
    "ModelSize",
    "PipelineResult",
    "Result",
    "ShrinkResult",
    "Stage",
    "Training",
    "channel_groups",
    "cluster",
    "pipeline",
    "prune",
    "quantize_aware",
    "shrink",
    "to_keras",
    "to_tf_keras",
]
