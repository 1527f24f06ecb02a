"""Distillation losses: one file per loss, all subclasses of `DistillationLoss`."""

from keras_kd.losses.attention_scores import AttentionScores as AttentionScores
from keras_kd.losses.attention_transfer import AttentionTransfer as AttentionTransfer
from keras_kd.losses.attentive_imitation import AttentiveImitation as AttentiveImitation
from keras_kd.losses.bounded_regression import BoundedRegression as BoundedRegression
from keras_kd.losses.channel_wise import ChannelWise as ChannelWise
from keras_kd.losses.chunk_mimicry import ChunkMimicry as ChunkMimicry
from keras_kd.losses.contrastive_representation import (
    ContrastiveRepresentation as ContrastiveRepresentation,
)
from keras_kd.losses.decoupled_kd import DecoupledKD as DecoupledKD
from keras_kd.losses.dist import DIST as DIST
from keras_kd.losses.distillation_loss import DistillationLoss as DistillationLoss
from keras_kd.losses.gaussian_targets import GaussianTargets as GaussianTargets
from keras_kd.losses.hint import Hint as Hint
from keras_kd.losses.labels_first import LabelsFirst as LabelsFirst
from keras_kd.losses.logit_standardization import LogitStandardization as LogitStandardization
from keras_kd.losses.logits_mse import LogitsMSE as LogitsMSE
from keras_kd.losses.masked_generation import MaskedGeneration as MaskedGeneration
from keras_kd.losses.multi_temperature import MultiTemperature as MultiTemperature
from keras_kd.losses.neuron_selectivity import NeuronSelectivity as NeuronSelectivity
from keras_kd.losses.normalized_kd import NormalizedKD as NormalizedKD
from keras_kd.losses.outputs_mse import OutputsMSE as OutputsMSE
from keras_kd.losses.pearson_features import PearsonFeatures as PearsonFeatures
from keras_kd.losses.probabilistic_transfer import ProbabilisticTransfer as ProbabilisticTransfer
from keras_kd.losses.relational_kd import RelationalKD as RelationalKD
from keras_kd.losses.serialization import deserialize as deserialize
from keras_kd.losses.serialization import get as get
from keras_kd.losses.serialization import serialize as serialize
from keras_kd.losses.similarity_preserving import SimilarityPreserving as SimilarityPreserving
from keras_kd.losses.soft_targets import SoftTargets as SoftTargets
from keras_kd.losses.taid import TAID as TAID
from keras_kd.losses.wttm import WTTM as WTTM
