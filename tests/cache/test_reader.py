"""A cache never lies: damage is named, a stopped build goes on, two do not mix."""

import json
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import keras_kd as kd
from keras_kd.cache.manifest import checksum
from keras_kd.cache.teacher_batches import taught
from keras_kd.cache.writer import locked
from tests import toy

SAMPLES = 10_000
BLOCK = 4096


@pytest.fixture(scope="module")
def teacher():
    return toy.mlp("teacher")


@pytest.fixture(scope="module")
def samples():
    x = np.random.default_rng(0).normal(size=(SAMPLES, 5)).astype("float32")
    return tf.data.Dataset.from_tensor_slices(x).batch(500)


def build(teacher, samples, path, **kwargs):
    return kd.KnowledgeCache.build(teacher, samples, path, verbose=0, **kwargs)


@pytest.fixture(scope="module")
def whole(teacher, samples, tmp_path_factory):
    return build(teacher, samples, tmp_path_factory.mktemp("whole") / "c").path


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


class Interruption:
    """A preprocessing that stops the build after some batches, once it is armed."""

    def __init__(self):
        self.ran, self.last = 0, None

    def __call__(self, x):
        return tf.ensure_shape(tf.numpy_function(self.step, [x], x.dtype), x.shape)

    def step(self, x):
        self.ran += 1
        if self.ran == self.last:
            raise RuntimeError("stopped")
        return x


# Damage.


def test_a_flipped_bit_is_found_and_its_rows_are_named(copy, samples):
    file = copy / "0.teacher.output.npy"
    content = bytearray(file.read_bytes())
    content[256 + 8 * 5000] ^= 1
    file.write_bytes(content)
    cache = kd.KnowledgeCache(copy)
    sentence = "rows 4096 to 8191 of '0.teacher.output.npy' are not those that were written"
    with pytest.raises(ValueError, match=sentence):
        cache.join(samples)
    cache.join(samples, verify=False)


def test_a_file_cut_short_or_missing_is_named(copy):
    file = copy / "inputs.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r"'inputs.npy' must have 80,256 bytes. Received: 80,248"):
        kd.KnowledgeCache(copy)
    file.unlink()
    with pytest.raises(ValueError, match="Received: no such file"):
        kd.KnowledgeCache(copy)


def test_a_file_of_another_shape_or_type_is_named(copy):
    file = copy / "0.teacher.output.npy"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"<f2", b"<i2"))
    sentence = r"output.npy' is damaged: its header must say 10,000 rows of \(4,\), float16"
    with pytest.raises(ValueError, match=sentence):
        kd.KnowledgeCache(copy)
    file.write_bytes(content.replace(b"NUMPY", b"MUNPY"))
    with pytest.raises(ValueError, match=sentence):
        kd.KnowledgeCache(copy)


def test_a_pickle_is_not_opened(copy):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    size = (copy / "0.teacher.output.npy").stat().st_size
    np.save(copy / "0.teacher.output.npy", np.array([Bomb()], object), allow_pickle=True)
    with (copy / "0.teacher.output.npy").open("ab") as file:
        file.truncate(size)
    with pytest.raises(ValueError, match="is damaged"):
        kd.KnowledgeCache(copy)


def edited(copy, edit):
    """The manifest as someone would change it who knows of the checksum."""
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["checksum"]
    edit(manifest)
    manifest["checksum"] = checksum(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m["content"]["teachers"][0]["taps"][0].update(file="../../secret.npy"),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(file="/etc/secret.npy"),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(shape=[2**40, 2**40]),
        lambda m: m["content"]["teachers"][0]["taps"][0].update(shape=[-4]),
        lambda m: m["content"]["teachers"][0].update(fingerprint="a-b-c-d"),
        lambda m: m["content"].update(dtype="object"),
        lambda m: m["content"].pop("views"),
        lambda m: m.update(rows=True),
        lambda m: m.update(rows=9999),
        lambda m: m["blocks"].pop(1),
        lambda m: m["blocks"][0]["checksums"].pop("inputs.npy"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(copy, edit):
    edited(copy, edit)
    with pytest.raises(ValueError, match="the manifest is damaged.* Build the cache again"):
        kd.KnowledgeCache(copy)


def test_a_manifest_that_does_not_fit_its_checksum_is_refused(copy):
    path = copy / "manifest.json"
    text = path.read_text()
    assert '"name": "teacher"' in text
    path.write_text(text.replace('"name": "teacher"', '"name": "ueacher"'))
    with pytest.raises(ValueError, match="the manifest is damaged.*does not fit its checksum"):
        kd.KnowledgeCache(copy)


def test_a_manifest_of_another_format_or_no_json_is_refused(copy):
    edited(copy, lambda m: m.update(version=99))
    with pytest.raises(ValueError, match="version 1. Received: .*, version 99"):
        kd.KnowledgeCache(copy)
    (copy / "manifest.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds no manifest"):
        kd.KnowledgeCache(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        kd.KnowledgeCache(copy)


# Stopped builds.


def stopped(samples, path, after):
    """A build that was stopped; returns its teacher, disarmed."""
    interruption = Interruption()
    teacher = kd.Teacher(toy.mlp("teacher"), preprocessing=interruption)
    teacher.fingerprint(samples.element_spec)
    interruption.ran, interruption.last = 0, after
    # The fingerprint asks the preprocessing once more.
    interruption.ran = -1
    with pytest.raises(tf.errors.UnknownError, match="stopped"):
        build(teacher, samples, path)
    interruption.ran, interruption.last = 0, None
    return teacher, interruption


def assert_equal_files(one, other):
    names = {path.name for path in one.iterdir()} - {"manifest.json", ".lock"}
    assert names == {path.name for path in other.iterdir()} - {"manifest.json", ".lock"}
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_stopped_build_is_no_cache_and_goes_on_where_it_was(samples, whole, tmp_path):
    teacher, runs = stopped(samples, tmp_path / "c", after=15)
    with pytest.raises(FileNotFoundError, match="its build did not finish. Build again: it goes"):
        kd.KnowledgeCache(tmp_path / "c")
    assert len(np.load(tmp_path / "c" / "0.teacher.output.npy")) == 0
    cache = build(teacher, samples, tmp_path / "c")
    # 14 batches of 500 were asked about and one block of 4,096 is on disk, that is 8 batches and
    # a part of the ninth. The other run is that of the fingerprint.
    assert runs.ran == 1 + 20 - BLOCK // 500
    assert len(cache) == SAMPLES
    assert_equal_files(cache.path, whole)


def test_a_block_that_was_torn_is_asked_for_again(samples, whole, tmp_path):
    teacher, _ = stopped(samples, tmp_path / "c", after=20)
    file = tmp_path / "c" / "0.teacher.output.npy"
    content = bytearray(file.read_bytes())
    content[256 + 5000 * 8] ^= 255  # In the second of the two blocks.
    file.write_bytes(content)
    with (tmp_path / "c" / "journal.jsonl").open("a") as journal:
        journal.write('{"first": 8192, "la')
    assert_equal_files(build(teacher, samples, tmp_path / "c").path, whole)


def test_a_build_of_something_else_does_not_go_on(samples, tmp_path):
    teacher, _ = stopped(samples, tmp_path / "c", after=15)
    with pytest.raises(ValueError, match="a build was begun there with other dtype"):
        build(teacher, samples, tmp_path / "c", dtype="float32")
    teacher.model.get_layer("head").bias.assign_add([0, 0, 0, 1])
    with pytest.raises(ValueError, match="with other weights of teacher 'teacher'"):
        build(teacher, samples, tmp_path / "c")


def test_a_build_does_not_go_on_with_other_samples(samples, tmp_path):
    teacher, _ = stopped(samples, tmp_path / "c", after=15)
    other = samples.map(lambda x: x + 1)
    with pytest.raises(ValueError, match="begun there with another input for .* key 0. Go on with"):
        build(teacher, other, tmp_path / "c")


def test_a_whole_cache_is_not_overwritten(samples, teacher, copy):
    with pytest.raises(ValueError, match="there is a cache already, with other dtype"):
        build(teacher, samples, copy, dtype="float32")
    with pytest.raises(ValueError, match="not the one that the teachers saw"):
        build(teacher, samples.map(lambda x: x + 1), copy)
    assert len(build(teacher, samples, copy)) == SAMPLES


@pytest.mark.parametrize("how", ["shuffled", "augmented"])
def test_a_data_set_that_differs_each_time_is_refused(how, samples, teacher, tmp_path):
    changing = samples.unbatch().shuffle(SAMPLES).batch(500)
    if how == "augmented":
        generator = tf.random.Generator.from_seed(0)
        changing = samples.map(lambda x: x + generator.normal(tf.shape(x)))
    with pytest.raises(ValueError, match="shuffled, or augmented at random.*pass views="):
        build(teacher, changing, tmp_path / "c")
    assert len(build(teacher, samples, tmp_path / "c")) == SAMPLES


@pytest.mark.parametrize("samples", [10, 1000])
def test_a_key_that_comes_twice_is_refused(samples, teacher, tmp_path):
    x = np.random.default_rng(0).normal(size=(samples, 5)).astype("float32")
    keys = np.append(np.arange(samples - 1), 3)
    for inputs in (x, np.zeros_like(x)):
        twice = tf.data.Dataset.from_tensor_slices((kd.Keyed(inputs, keys),)).batch(5)
        with pytest.raises(ValueError, match="the key 3 (twice|has another input)"):
            build(teacher, twice, tmp_path / "c")


def test_no_samples_are_refused(teacher, samples, tmp_path):
    with pytest.raises(ValueError, match="no samples"):
        build(teacher, samples.take(0), tmp_path / "c")


# Other processes, full disks.

SCRIPT = """
import os, signal, sys
import numpy as np, tensorflow as tf
import keras_kd as kd
from tests import toy

def die(x):
    if died_at >= 0 and x[0] == at[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

x = np.random.default_rng(0).normal(size=(10_000, 5)).astype("float32")
died_at = int(sys.argv[2])
at = x[died_at]
data = tf.data.Dataset.from_tensor_slices(x)
data = data.map(lambda x: tf.ensure_shape(tf.numpy_function(die, [x], tf.float32), (5,))).batch(500)
kd.KnowledgeCache.build(toy.mlp("teacher"), data, sys.argv[1], verbose=0)
"""


def test_a_killed_build_goes_on(samples, teacher, whole, tmp_path):
    path = tmp_path / "c"
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(path), "9000"], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(FileNotFoundError, match="its build did not finish"):
        kd.KnowledgeCache(path)
    assert (path / "journal.jsonl").read_text().count("\n") >= 1
    assert_equal_files(build(teacher, samples, path).path, whole)


def test_two_builds_at_once_do_not_mix(samples, teacher, tmp_path):
    path = tmp_path / "c"
    path.mkdir()
    with locked(path), pytest.raises(RuntimeError, match=r"another process \(\d+ on .*\) is buil"):
        build(teacher, samples, path)
    assert [file.name for file in path.iterdir()] == [".lock"]
    assert len(build(teacher, samples, path)) == SAMPLES


def test_a_whole_cache_is_asked_for_while_another_process_holds_it(samples, teacher, tmp_path):
    path = build(teacher, samples, tmp_path / "c").path
    with locked(path):
        assert len(build(teacher, samples, path)) == SAMPLES


def test_neither_build_nor_join_waits_for_autotuning_to_wake_up(samples, whole):
    """The end of a build waited up to 10 of 20 seconds for it, the next epoch more than one."""
    cache = kd.KnowledgeCache(whole)
    for data in (samples, samples.unbatch()):
        assert taught(data, data is samples, 32).options().autotune.enabled is False
        assert cache.join(data).options().autotune.enabled is False


def test_a_user_who_wants_autotuning_has_it(samples, whole):
    options = tf.data.Options()
    options.autotune.enabled = True
    joined = kd.KnowledgeCache(whole).join(samples.with_options(options))
    assert joined.options().autotune.enabled is True


def test_a_full_disk_leaves_nothing_that_looks_whole(samples, teacher, whole, tmp_path):
    path = tmp_path / "c"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this, as on a disk that fills up in the second block.
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(OSError, match="writing failed after 4,096 samples .*it goes on from"):
            build(teacher, samples, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(FileNotFoundError, match="its build did not finish"):
        kd.KnowledgeCache(path)
    assert_equal_files(build(teacher, samples, path).path, whole)


def test_too_small_a_disk_is_refused_before_a_teacher_runs(samples, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    interruption = Interruption()
    teacher = kd.Teacher(toy.mlp("teacher"), preprocessing=interruption)
    with pytest.raises(OSError, match=r"takes 0.00 GB and the disk has 0.00 GB left"):
        build(teacher, samples, tmp_path / "c")
    assert interruption.ran == 1  # For the fingerprint.
