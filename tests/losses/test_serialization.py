import keras
import pytest

from keras_kd import losses


def test_every_argument_is_in_the_configuration():
    changed = [
        losses.SoftTargets(3.0, "sigmoid", 0.5, "a", "b", "mine", "reverse"),
        losses.DecoupledKD(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.NormalizedKD(0.5, 2.0, 0.5, "a", "b", "mine"),
        losses.DIST(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.LogitsMSE(0.5, "a", "b", "mine"),
        losses.LogitStandardization(losses.DecoupledKD(beta=3.0), 0.5, "mine"),
        losses.Hint("a", "b", None, 0.5, "mine", "cosine"),
        losses.Hint(taps=[("a", "b"), ("c", "d")], name="mine"),
        losses.Hint(taps="auto", name="mine"),
        losses.AttentionTransfer("a", "b", 3.0, 0.5, "mine"),
        losses.NeuronSelectivity("a", "b", 0.5, "mine"),
        losses.ChunkMimicry(0.5, "a", "b", "mine"),
        losses.SimilarityPreserving("a", "b", 0.5, "mine"),
        losses.RelationalKD("a", "b", 1.0, 2.0, None, 0.5, "mine"),
        losses.ProbabilisticTransfer("a", "b", 0.5, "mine"),
        losses.ContrastiveRepresentation("a", "b", 16, 32, 0.1, 0.5, "mine"),
    ]
    for loss in changed:
        again = losses.deserialize(losses.serialize(loss))
        assert again.get_config() == loss.get_config()
        assert (again.teacher_tap, again.student_tap) == (loss.teacher_tap, loss.student_tap)
        assert again.name == "mine"


@pytest.mark.parametrize(
    "name", ["soft_targets", "logits_mse", "dist", "chunk_mimicry", "relational_kd"]
)
def test_a_loss_is_found_by_its_name(name):
    loss = losses.get(name)
    assert loss.name == name
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()
    assert losses.get(loss) is loss


def test_unknown_names_raise_with_the_nearest_names():
    with pytest.raises(ValueError, match="no distillation loss 'decoupled'.*'decoupled_kd'"):
        losses.get("decoupled")
    with pytest.raises(ValueError, match="There is no distillation loss 'feature_loss'"):
        losses.get("feature_loss")


def test_a_loss_with_required_arguments_has_no_name():
    class Needs(losses.DistillationLoss):
        def __init__(self, number):
            super().__init__()

        def call(self, teacher, student, labels=None):
            return student

    with pytest.raises(ValueError, match=r"'needs' has required arguments.*Pass kd.losses.Needs"):
        losses.get("needs")


def test_anything_else_is_rejected():
    with pytest.raises(TypeError, match=r"Received: 3 \(of type int\)"):
        losses.get(3)
    dense = keras.saving.serialize_keras_object(keras.layers.Dense(2))
    with pytest.raises(TypeError, match="Expected the configuration of a DistillationLoss"):
        losses.deserialize(dense)
