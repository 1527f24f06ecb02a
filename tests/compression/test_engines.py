"""Engines have a name, and arguments that belong to them."""

import pytest

from keras_kd.compression.engines import check_engine


@pytest.mark.parametrize("engine", ["native", "tfmot"])
def test_both_engines_are_accepted(engine):
    check_engine(engine, custom=None)
    check_engine("tfmot", custom={})


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("keras", r"`engine` must be one of \('native', 'tfmot'\). Received: engine='keras'"),
        ("native", r"\['custom'\] belong to tensorflow-model-optimization: pass engine='tfmot'"),
    ],
)
def test_unknown_engines_and_arguments_of_the_other_are_rejected(engine, message):
    with pytest.raises(ValueError, match=message):
        check_engine(engine, custom={})
