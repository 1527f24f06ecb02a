"""Checks for classes that others write: does a loss keep what `DistillationLoss` promises?"""

from keras_kd.testing.check_loss import check_loss as check_loss
