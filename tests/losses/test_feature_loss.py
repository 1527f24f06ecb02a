import pytest

import keras_kd as kd
from keras_kd import losses
from tests import toy

MAP, SEQUENCE, VECTOR = (None, 4, 4, 3), (None, 6, 3), (None, 8)


@pytest.mark.parametrize("loss", [losses.AttentionTransfer, losses.NeuronSelectivity])
def test_a_loss_by_position_compares_maps_or_sequences_of_known_size(loss):
    for teacher, student in [
        (MAP, (None, 8, 8, 5)),
        (SEQUENCE, (None, 3, 5)),
        ((None, None, None, 3), (None, None, None, 5)),
    ]:
        assert loss("a", "b").make_projector(teacher, student) is None
    for teacher, student in [(MAP, SEQUENCE), (VECTOR, VECTOR), (MAP, (None, None, 4, 3))]:
        with pytest.raises(ValueError, match=r"compares maps.*student_tap='b' of shape"):
            loss("a", "b").make_projector(teacher, student)


@pytest.mark.parametrize("loss", [losses.SimilarityPreserving, losses.RelationalKD])
def test_a_loss_on_relations_compares_taps_of_any_shape(loss):
    assert loss().make_projector(MAP, VECTOR) is None
    with pytest.raises(ValueError, match=r"compares features \(batch, \.\.\.\)"):
        loss().make_projector(VECTOR, (None,))


def test_a_distiller_rejects_taps_that_the_loss_cannot_compare():
    loss = losses.AttentionTransfer("conv", "features")
    with pytest.raises(ValueError, match=r"compares maps.*student_tap='features' of shape"):
        kd.Distiller(toy.cnn("student"), toy.cnn("teacher"), loss)
