"""Compare a teacher, its students and their files on one page."""

from keras_kd.report.compare import compare
from keras_kd.report.entries import Entry, Sample
from keras_kd.report.report import Report

__all__ = ["Entry", "Report", "Sample", "compare"]
