"""One page that shows what distillation won, and what it cost."""

from keras_kd.report.compare import compare
from keras_kd.report.report import Entry, Report, Sample

__all__ = ["Entry", "Report", "Sample", "compare"]
