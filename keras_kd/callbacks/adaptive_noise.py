"""Noise that decreases when a metric stops improving."""

import keras


class AdaptiveNoise(keras.callbacks.Callback):
    """Reduce the noise when a metric stops improving, as `ReduceLROnPlateau` does.

    Checkpoints contain the noise but not the number of epochs without improvement, so `patience`
    starts again after a resume.

    Args:
        monitor: Metric to monitor. Defaults to `"val_accuracy"`.
        factor: Factor for the standard deviation, in [0, 1). Defaults to 0.5.
        patience: Number of epochs without improvement before a reduction. Defaults to 3.
        mode: `"max"` if higher is better, `"min"` if lower is better. Defaults to `"max"`.

    Raises:
        ValueError: If `factor`, `patience` or `mode` is out of range; at the start of training, if
            the distiller has no noise; at the end, if the metric was never logged.

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
        """Reset the state."""
        if "noise.stddev" not in self.model.hyperparameters:
            raise ValueError(
                "AdaptiveNoise: the distiller has no noise. Pass "
                "kd.Distiller(..., noise=kd.noise.LogitNoise(1.0))."
            )
        self._best = None
        self._wait = 0
        self._logged = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Reduce the noise if the metric stopped improving, and log it."""
        logs = {} if logs is None else logs
        logs["noise.stddev"] = float(self.model.hyperparameters["noise.stddev"])
        if self.monitor not in logs:
            return  # No validation in this epoch.
        self._logged = True
        sign = 1 if self.mode == "max" else -1
        value = sign * logs[self.monitor]
        better = self._best is None or value > self._best
        self._best = value if better else self._best
        self._wait = 0 if better else self._wait + 1
        if self._wait >= self.patience:
            self._wait = 0
            stddev = float(self.model.hyperparameters["noise.stddev"])
            self.model.set_hyperparameter("noise.stddev", stddev * self.factor)
        logs["noise.stddev"] = float(self.model.hyperparameters["noise.stddev"])

    def on_train_end(self, logs: dict | None = None) -> None:
        """Raise if the metric was never logged."""
        if not self._logged:
            raise ValueError(
                f"AdaptiveNoise: the metric '{self.monitor}' was never logged. Available: "
                f"{', '.join(logs or {})}. Pass validation_data or another `monitor`."
            )
