"""Distillation losses: one file for each, all on the base class `DistillationLoss`."""

from keras_kd.losses.distillation_loss import DistillationLoss as DistillationLoss
from keras_kd.losses.hint import Hint as Hint
from keras_kd.losses.logits_mse import LogitsMSE as LogitsMSE
from keras_kd.losses.serialization import deserialize as deserialize
from keras_kd.losses.serialization import get as get
from keras_kd.losses.serialization import serialize as serialize
from keras_kd.losses.soft_targets import SoftTargets as SoftTargets
