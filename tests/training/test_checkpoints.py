"""Checkpoints on disk: complete, checked and bounded in number."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_kd.training.checkpoints import Checkpoints, Position
from tests import toy

STRATEGY = tf.distribute.get_strategy()


def model(units=8):
    made = toy.mlp("model", units=units)
    made.compile(keras.optimizers.SGD(0.1, momentum=0.5), toy.sparse_loss())
    made.optimizer.build(made.trainable_variables)
    return made


def position(batch, **fields):
    return Position(1, batch, begun=True, logs={"loss": 0.1}, history=[{"loss": 0.3}], **fields)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with two checkpoints, of steps 4 and 6."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints, trained = Checkpoints(folder, STRATEGY), model()
    for step in (4, 6):
        trained.trainable_variables[0].assign_add(np.full((5, 8), step))
        trained.optimizer.iterations.assign(step)
        checkpoints.write(trained, position(step, first_batch="digest"), step)
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def test_a_new_folder_has_no_checkpoint(tmp_path):
    checkpoints, untrained = Checkpoints(tmp_path / "a" / "b", STRATEGY), model()
    assert not checkpoints.found
    assert checkpoints.position == Position(logs={}, history=[])
    before = untrained.get_weights()
    checkpoints.restore(untrained)
    for one, other in zip(before, untrained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_newest_checkpoint_is_restored_with_its_position(folder):
    checkpoints, restored = Checkpoints(folder, STRATEGY), model()
    assert checkpoints.found
    assert checkpoints.position == position(6, first_batch="digest")
    expected = restored.trainable_variables[0] + 4 + 6
    checkpoints.restore(restored)
    np.testing.assert_array_equal(restored.trainable_variables[0], expected)
    assert int(restored.optimizer.iterations) == 6


def test_only_the_two_newest_checkpoints_are_kept(folder):
    Checkpoints(folder, STRATEGY).write(model(), position(8), 8)
    assert sorted(path.name for path in folder.iterdir()) == ["000000000006-1", "000000000008-1"]


def test_a_checkpoint_at_the_same_step_is_replaced(folder):
    Checkpoints(folder, STRATEGY).write(model(), position(6, first_batch="new"), 6)
    assert Checkpoints(folder, STRATEGY).position.first_batch == "new"


def test_an_unfinished_checkpoint_is_deleted(folder):
    unfinished = folder / ".unfinished-1"
    unfinished.mkdir()
    Checkpoints(folder, STRATEGY)
    assert not unfinished.exists()


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place(content)] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def enlarge(path):
    # Spaces change nothing in JSON.
    path.write_bytes(b" " * 2**28 + path.read_bytes())


DAMAGES = {
    "flipped weights": lambda at: flip(at / "state.weights.h5", lambda content: len(content) // 2),
    "truncated weights": lambda at: truncate(at / "state.weights.h5"),
    "no weights": lambda at: (at / "state.weights.h5").unlink(),
    "flipped position": lambda at: flip(at / "about.json", lambda c: c.index(b'"batch": 6') + 9),
    "other JSON": lambda at: (at / "about.json").write_text("[]"),
    "no position": lambda at: (at / "about.json").unlink(),
    "implausible size": lambda at: enlarge(at / "about.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_ignored_with_a_warning(damage, folder):
    DAMAGES[damage](folder / "000000000006-1")
    with pytest.warns(UserWarning, match="000000000006-1' is damaged and ignored"):
        checkpoints = Checkpoints(folder, STRATEGY)
    assert checkpoints.position.batch == 4
    restored = model()
    checkpoints.restore(restored)
    assert int(restored.optimizer.iterations) == 4


@pytest.mark.filterwarnings("ignore:Resume")
def test_if_all_checkpoints_are_damaged_the_run_is_rejected(folder):
    for path in folder.glob("*/about.json"):
        path.write_text("{}")
    with pytest.raises(ValueError, match="all checkpoints in .* are damaged. Delete the folder"):
        Checkpoints(folder, STRATEGY)


def test_the_checkpoint_of_another_model_is_rejected(folder):
    with pytest.raises(ValueError, match="a run of another model or optimizer. Give each run"):
        Checkpoints(folder, STRATEGY).restore(model(units=3))


def test_a_checkpoint_holds_a_digest_of_its_weights(folder):
    content = json.loads((folder / "000000000006-1" / "about.json").read_text())["content"]
    assert len(content["weights"]) == 64


def test_positions_sort_in_the_order_of_the_run():
    between, first, second = Position(1), Position(1, 0, True), Position(1, 3, True)
    assert between.order < first.order < second.order < Position(2).order
