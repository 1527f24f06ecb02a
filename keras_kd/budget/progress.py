"""Progress of a search: a line per training, with the best file so far and the time left."""

from collections.abc import Sequence
from typing import Any

from keras_kd.budget.augmentation import NONE
from keras_kd.budget.files import CompressedFile
from keras_kd.budget.schedule import Result, Schedule
from keras_kd.budget.search import describe, seconds_per_part
from keras_kd.report import formatting


class Progress:
    """Prints what happens.

    Args:
        verbose: 0 for silence.
    """

    def __init__(self, verbose: int) -> None:
        self._verbose = verbose

    def say(self, text: str) -> None:
        """Print a line."""
        if self._verbose:
            print(text, flush=True)

    def report(
        self,
        result: Result,
        finished: Sequence[Result],
        schedule: Schedule,
        best: CompressedFile | None,
    ) -> None:
        """Print the line of a finished training."""
        parts = [f"trial {result.slot.name}", describe_config(result.slot.config, result.values)]
        if "reason" in result.values:
            parts.append(f"not trained: {result.values['reason']}")
        else:
            parts += [formatting.decimal(result.score), f"{result.values['seconds']:.0f} s"]
        if best is not None:
            kept = f"{best.path.name}, {formatting.size(best.size)}"
            parts.append(f"best {formatting.decimal(best.score)} in {kept}")
        left = remaining_seconds(finished, schedule)
        if left is not None:
            parts.append(f"about {format_seconds(left)} left")
        self.say(" | ".join(parts))


def describe_config(config: Any, values: Any) -> str:
    """Return what was trained as text."""
    own = describe(values.get("params") or config.params)
    parts = [config.family + (f" ({own})" if own else ""), config.loss, f"rate {config.rate:g}"]
    parts += [] if config.augmentation == NONE else [config.augmentation]
    return ", ".join(parts)


def remaining_seconds(finished: Sequence[Result], schedule: Schedule) -> float | None:
    """Return the expected seconds of the trainings that are left, `None` if it is unknown."""
    full = seconds_per_part(finished)
    if full is None:
        return None
    done = sum(result.slot.part for result in finished)
    return full * max(0.0, schedule.cost - done)


def format_seconds(seconds: float) -> str:
    """Return seconds or minutes as text."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
