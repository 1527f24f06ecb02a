"""The two engines of a compression: Keras 3 itself, and tensorflow-model-optimization."""

from typing import Any

ENGINES = ("native", "tfmot")


def check_engine(engine: str, **for_tfmot: Any) -> None:
    """Check the name of an engine, and the arguments that only the other one has.

    Args:
        engine: `"native"` or `"tfmot"`.
        **for_tfmot: Arguments of tensorflow-model-optimization; `None` if they are not given.

    Raises:
        ValueError: If the engine is unknown, or the native one gets such an argument.
    """
    if engine not in ENGINES:
        raise ValueError(f"`engine` must be one of {ENGINES}. Received: engine={engine!r}")
    given = [name for name, value in for_tfmot.items() if value is not None]
    if engine == "native" and given:
        raise ValueError(
            f"{given} belong to tensorflow-model-optimization: pass engine='tfmot'. The native "
            f"engine runs every layer unchanged. Received: engine='native', {given[0]}="
            f"{for_tfmot[given[0]]!r}"
        )
