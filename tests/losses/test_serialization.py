import keras
import pytest

import keras_kd as kd
from keras_kd import losses
from tests import toy


def test_a_loss_is_found_by_the_name_of_its_class_too():
    for name in ("soft_targets", "SoftTargets"):
        assert isinstance(losses.get(name), losses.SoftTargets)
    assert isinstance(losses.get("WTTM"), losses.WTTM)


def test_every_argument_is_in_the_configuration():
    changed = [
        losses.SoftTargets(3.0, "sigmoid", 0.5, "a", "b", "mine", "reverse"),
        losses.DecoupledKD(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.NormalizedKD(0.5, 2.0, 0.5, "a", "b", "mine"),
        losses.DIST(0.5, 2.0, 3.0, 0.5, "a", "b", "mine"),
        losses.SoftTargets(3.0, None, 0.5, "a", "b", "mine", "jensen_shannon", 0.1),
        losses.TAID(0.5, 0.5, "a", "b", "mine"),
        losses.MultiTemperature([1.0, 2.0], 2.0, 3.0, 4.0, 0.5, "a", "b", "mine"),
        losses.WTTM(0.5, 0.5, "a", "b", "mine"),
        losses.OutputsMSE(0.5, "a", "b", "mine"),
        losses.BoundedRegression(0.5, 0.5, "a", "b", "mine"),
        losses.AttentiveImitation(2.0, 0.5, "a", "b", "mine"),
        losses.GaussianTargets(0.5, "a", "b", "mine"),
        losses.LogitStandardization(losses.DecoupledKD(beta=3.0), 0.5, "mine"),
        losses.LabelsFirst(losses.DIST(beta=3.0), 0.5, "mine"),
        losses.Hint("a", "b", None, 0.5, "mine", "cosine"),
        losses.Hint(taps=[("a", "b"), ("c", "d")], name="mine"),
        losses.Hint(taps="auto", name="mine"),
        losses.AttentionTransfer("a", "b", 3.0, 0.5, "mine"),
        losses.NeuronSelectivity("a", "b", 0.5, "mine"),
        losses.ChannelWise("a", "b", 1.0, None, True, 0.5, "mine"),
        losses.PearsonFeatures("a", "b", None, True, 0.5, "mine"),
        losses.MaskedGeneration("a", "b", 0.5, "channels", None, True, 7, 0.5, "mine"),
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
    "name", ["soft_targets", "outputs_mse", "dist", "chunk_mimicry", "relational_kd"]
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


class Mine(losses.DistillationLoss):
    """A custom loss that is not registered."""

    def call(self, teacher, student, labels=None):
        return keras.ops.mean(keras.ops.abs(teacher - student), axis=-1)


DISTILLERS = {
    "distiller": lambda loss: kd.Distiller(toy.mlp("s"), toy.mlp("t", seed=1), [loss]),
    "self": lambda loss: kd.SelfDistiller(toy.mlp("s"), [loss], decay=0.9),
    "mutual": lambda loss: kd.MutualLearning([toy.mlp("a"), toy.mlp("b")], [loss]),
    "deep": lambda loss: kd.DeepSupervision(toy.mlp("s"), ["hidden"], [loss]),
    "class": lambda loss: kd.TeacherClass(
        toy.mlp("t"), "hidden", [toy.mlp("a", classes=8)], loss=loss
    ),
}


@pytest.mark.parametrize("kind", DISTILLERS)
def test_a_saved_distiller_with_a_custom_loss_needs_its_class(kind, tmp_path):
    model, path = DISTILLERS[kind](Mine(weight=0.25)), tmp_path / "distiller.keras"
    model.save(path)
    message = (
        r"The distillation loss 'Mine' is a custom class.*register_keras_serializable\(\).*"
        r"custom_objects=\{'Mine': Mine\}"
    )
    with pytest.raises(ValueError, match=message):
        keras.saving.load_model(path)
    again = keras.saving.load_model(path, custom_objects={"Mine": Mine})
    assert again.get_config().keys() == model.get_config().keys()
    if kind != "class":
        assert float(again.distillation_losses[0].weight) == 0.25


def test_a_custom_loss_within_another_needs_its_class():
    config = losses.serialize(losses.LogitStandardization(Mine()))
    with pytest.raises(ValueError, match="The distillation loss 'Mine' is a custom class"):
        losses.deserialize(config)
    with keras.saving.custom_object_scope({"Mine": Mine}):
        assert isinstance(losses.get(config).loss, Mine)


def test_a_custom_loss_must_return_its_arguments():
    class Power(losses.DistillationLoss):
        def __init__(self, power):
            super().__init__()
            self.power = power

    config = losses.serialize(Power(2.0))
    message = "'Power' cannot be created.*must return all arguments of its constructor.*'weight'"
    with (
        keras.saving.custom_object_scope({"Power": Power}),
        pytest.raises(ValueError, match=message),
    ):
        losses.deserialize(config)


def test_anything_else_is_rejected():
    with pytest.raises(TypeError, match=r"Received: 3 \(of type int\)"):
        losses.get(3)
    dense = keras.saving.serialize_keras_object(keras.layers.Dense(2))
    with pytest.raises(TypeError, match="Expected the configuration of a DistillationLoss"):
        losses.deserialize(dense)
