import pytest

from keras_kd import losses

WRAPPERS = [losses.LogitStandardization, losses.LabelsFirst]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_taps_weight_and_needs_are_those_of_the_loss_within(wrapper):
    inner = losses.DecoupledKD(weight=0.3, teacher_tap="a", student_tap="b")
    loss = wrapper(inner)
    assert float(loss.weight) == pytest.approx(0.3)  # JAX has no float64.
    assert (loss.teacher_tap, loss.student_tap) == ("a", "b")
    assert (loss.needs_labels, loss.reads_classes) == (inner.needs_labels, inner.reads_classes)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("inner", ["taid", "labels_first"])
def test_a_loss_with_a_state_is_rejected(wrapper, inner):
    with pytest.raises(ValueError, match=f"{wrapper.__name__}: .*keeps a state"):
        wrapper(inner)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_loss_on_features_is_rejected(wrapper):
    with pytest.raises(ValueError, match="must be a loss on logits.*Received: Hint"):
        wrapper(losses.Hint("a", "b"))
