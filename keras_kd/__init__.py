"""Knowledge distillation for Keras: from a trained teacher to a verified int8 .tflite."""

from keras_kd import callbacks as callbacks
from keras_kd import compression as compression
from keras_kd import datasets as datasets
from keras_kd import export as export
from keras_kd import losses as losses
from keras_kd.class_labels import UNLABELED as UNLABELED
from keras_kd.distiller import Distiller as Distiller
from keras_kd.mixing import mix_unlabeled as mix_unlabeled
from keras_kd.models.pairing import pair_taps as pair_taps
from keras_kd.models.pairing import taps as taps
from keras_kd.pseudo_labels import pseudo_label as pseudo_label
from keras_kd.students.born_again import born_again as born_again
from keras_kd.students.chain import distill_chain as distill_chain
from keras_kd.students.deep_supervision import DeepSupervision as DeepSupervision
from keras_kd.students.mutual import MutualLearning as MutualLearning
from keras_kd.students.self_distiller import SelfDistiller as SelfDistiller
from keras_kd.students.teacher_class import TeacherClass as TeacherClass
from keras_kd.students.teacher_head import with_teacher_head as with_teacher_head
from keras_kd.teachers import noise as noise
from keras_kd.teachers import weighting as weighting
from keras_kd.teachers.cache import KnowledgeCache as KnowledgeCache
from keras_kd.teachers.lesson import Keyed as Keyed
from keras_kd.teachers.samples import keyed as keyed
from keras_kd.teachers.screening import screen_teachers as screen_teachers
from keras_kd.teachers.teacher import Teacher as Teacher
from keras_kd.version import __version__ as __version__
