"""Report of the compression benchmark."""

from benchmarks.export import compression
from benchmarks.runner.results import Done


def test_report_without_students_trained_on_labels_alone():
    metrics = {
        f"{name}_{what}": 0.5
        for name in ("start", "pruned_80")
        for what in ("int8_accuracy", "int8_bytes", "int8_gzip", "us")
    }
    done = Done()
    for stage in (compression.START, compression.WITH_TEACHER):
        done.add({"stage": stage}, 0, metrics, 0)
    report = compression.report(done)
    assert "pruned to 80 %" in report
    assert "With the teacher" not in report
