"""`keras-kd benchmark`: one row per setting."""


def test_benchmark_compares_settings(run):
    line = "benchmark teacher.tflite --runs 5 --threads 1 2 --xnnpack on off"
    code, numbers, _ = run(f"{line} --json")
    assert code == 0
    settings = [(one["threads"], one["xnnpack"]) for one in numbers["latencies"]]
    assert settings == [(1, True), (2, True), (1, False), (2, False)]
    assert numbers["parameters"] == 64 * 64 + 64 + 64 * 10 + 10


def test_benchmark_prints_a_table(run):
    code, text, _ = run("benchmark teacher.tflite --runs 5")
    assert code == 0
    assert "1 thread, XNNPACK on" in text
    assert "4,810 parameters" in text
