"""Compare a teacher, its students and their files on one page."""

from keras_kd.report.changes import ClassChange, Confusion
from keras_kd.report.compare import compare
from keras_kd.report.entries import Entry, Sample
from keras_kd.report.report import Report

__all__ = ["ClassChange", "Confusion", "Entry", "Report", "Sample", "compare"]
