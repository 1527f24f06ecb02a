"""One format that `best` tried."""

from dataclasses import dataclass
from typing import Any

from keras_kd.export.scores import Evaluation


@dataclass(frozen=True)
class Attempt:
    """One format that `best` tried, and what became of it.

    Attributes:
        quantization: The format.
        reason: Why it was not kept; `None` for the one that was.
        size: Bytes of the file, `None` where there is none.
        latency_us: Median time of one run on one thread, in microseconds; `None` where it was not
            timed.
        noise: How sure the latency is, as a share of it.
        verification: What the file scored beside the Keras model.
    """

    quantization: str
    reason: str | None = None
    size: int | None = None
    latency_us: float | None = None
    noise: float | None = None
    verification: Evaluation | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the numbers as JSON takes them."""
        scores = self.verification and self.verification.as_dict()
        return {**vars(self), "verification": scores}
