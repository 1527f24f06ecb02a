"""Noise that gives way when the student stops gaining from it."""

import keras


class AdaptiveNoise(keras.callbacks.Callback):
    """Lowers the noise when a validation metric stalls, as `ReduceLROnPlateau` lowers the rate.

    The noise itself is part of a checkpoint; how long the metric has stalled is not, so a resumed
    run waits the whole patience anew.

    Args:
        monitor: What is watched. Defaults to `"val_accuracy"`.
        factor: What the standard deviation is multiplied by, in [0, 1). Defaults to 0.5.
        patience: Epochs without a better value after which it is lowered. Defaults to 3.
        mode: `"max"` if more is better, `"min"` if less is. Defaults to `"max"`.

    Raises:
        ValueError: When `factor`, `patience` or `mode` is out of range; at the start of training,
            when the distiller has no noise; at the end of it, when nothing was called `monitor`.

    Example:
        >>> kd.callbacks.AdaptiveNoise(patience=2)
    """

    def __init__(
        self,
        monitor: str = "val_accuracy",
        factor: float = 0.5,
        patience: int = 3,
        mode: str = "max",
    ) -> None:
        super().__init__()
        if not 0 <= factor < 1:
            raise ValueError(f"AdaptiveNoise: `factor` must be in [0, 1). Received: {factor}")
        if patience < 1:
            raise ValueError(f"AdaptiveNoise: `patience` must be at least 1. Received: {patience}")
        if mode not in ("max", "min"):
            raise ValueError(f"AdaptiveNoise: `mode` must be 'max' or 'min'. Received: {mode!r}")
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.mode = mode

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts to wait."""
        if "noise.stddev" not in self.model.hyperparameters:
            raise ValueError(
                "AdaptiveNoise: the distiller has no noise. Give it one: "
                "kd.Distiller(..., noise=kd.noise.LogitNoise(1.0))."
            )
        self._best = None
        self._stalled = 0
        self._seen = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Lowers the noise if the metric has stalled, and writes it into the history."""
        logs = {} if logs is None else logs
        logs["noise.stddev"] = float(self.model.hyperparameters["noise.stddev"])
        if self.monitor not in logs:
            return  # No validation in this epoch.
        self._seen = True
        sign = 1 if self.mode == "max" else -1
        value = sign * logs[self.monitor]
        better = self._best is None or value > self._best
        self._best = value if better else self._best
        self._stalled = 0 if better else self._stalled + 1
        if self._stalled >= self.patience:
            self._stalled = 0
            stddev = float(self.model.hyperparameters["noise.stddev"])
            self.model.set_hyperparameter("noise.stddev", stddev * self.factor)
        logs["noise.stddev"] = float(self.model.hyperparameters["noise.stddev"])

    def on_train_end(self, logs: dict | None = None) -> None:
        """Says so if there never was anything to watch."""
        if not self._seen:
            raise ValueError(
                f"AdaptiveNoise: there was no '{self.monitor}' to watch; there were: "
                f"{', '.join(logs or {})}. Pass validation_data, or another `monitor`."
            )
