"""Every distiller in every way of training; tests/conformance.py states each property."""

import pytest

from tests.conformance import MODES
from tests.distillers.cases import CASES


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "mode"), [(name, mode) for name, case in CASES.items() for mode in case.modes]
)
def test_distiller_passes_every_mode(case, mode):
    MODES[mode](CASES[case])


def test_excluded_modes_exist():
    assert {mode for case in CASES.values() for mode in case.excluded} <= set(MODES)
