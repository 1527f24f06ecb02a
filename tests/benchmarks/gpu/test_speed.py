"""Table of the speed of a step."""

from benchmarks.gpu.speed import report
from benchmarks.runner.results import Done


def test_the_table_shows_ratios_and_images_per_second():
    occasion = {"device": "a card", "minutes": 1.0, "versions": {"jax": "1.0", "torch": "2.0"}}
    done = Done(about={"occasions": [occasion], "batch": 128})
    done.add({"pair": "vgg"}, 0, {"live": 1.02, "live_images_per_second": 51234.5}, 1.0)
    text = report(done).replace("\u00a0", " ")
    assert "| live teacher | student + teacher (≤ 1.05) | 1.020 (1 run) | 51234 (1 run) |" in text
    assert "| `keras.distillation` on JAX | student + teacher |  |  |" in text
    assert text.endswith("Batches of 128. a card, jax 1.0, torch 2.0.")
