"""Arguments of `to_tflite`, checked before the conversion starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_kd.export.conversion import CALIBRATED, Request
from keras_kd.export.weight_only import WEIGHT_ONLY, require_quantizer

#: Formats of `to_tflite`.
QUANTIZATIONS = ("float32", "float16", "dynamic", *CALIBRATED, *WEIGHT_ONLY)
#: Name of the only signature of a file.
MAIN = "serving_default"
_INTEGER_IO = {"int8": ("int8", "uint8"), "int16x8": ("int16",)}


@dataclass(frozen=True)
class Options:
    """Properties of a .tflite file; see the arguments of `to_tflite`.

    Raises:
        ModuleNotFoundError: If ai-edge-quantizer is needed and not installed.
        ValueError: If an option is invalid, or incompatible with another one.
    """

    quantization: str = "float32"
    batch_size: int | None = 1
    io_dtype: str = "float32"
    per_channel: bool = True
    allow_flex: bool = False
    signatures: Mapping[str, str | None] | None = None
    normalization: Any = None
    raw_inputs: bool = False
    answer: str | Mapping[str, str] | None = None
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    keep_float: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(
                f"Expected a quantization of {QUANTIZATIONS}. Received: {self.quantization!r}. "
                "Choose one."
            )
        if self.quantization in WEIGHT_ONLY:
            require_quantizer(self.quantization)
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(
                f"Expected a batch_size of at least 1, or None. Received: {self.batch_size}. Use 1 "
                "for an application that runs one sample at a time."
            )
        dtypes = ("float32", *_INTEGER_IO.get(self.quantization, ()))
        if self.io_dtype not in dtypes:
            raise ValueError(
                f"Expected an io_dtype of {dtypes} for quantization={self.quantization!r}. "
                f"Received: {self.io_dtype!r}. Choose one."
            )
        if not self.per_channel and self.quantization not in ("dynamic", *CALIBRATED):
            raise ValueError(
                "Expected per_channel=True, unless the converter quantizes the weights (dynamic, "
                f"int8, int16x8). Received: per_channel=False for {self.quantization!r}. Omit "
                "`per_channel`."
            )
        self._check_signatures()
        if self.keep_float is not None:
            self._check_keep_float()

    @property
    def taps(self) -> dict[str, str | None]:
        """The tap of each signature, `None` for the model's outputs."""
        return {MAIN: None} if self.signatures is None else dict(self.signatures)

    @property
    def request(self) -> Request:
        """The converter's settings."""
        return Request(
            "float32" if self.quantization in WEIGHT_ONLY else self.quantization,
            tuple(self.taps),
            self.io_dtype,
            self.per_channel,
            self.allow_flex,
            self.batch_size or 1,
            calibrate_only=self.keep_float is not None,
        )

    def _check_keep_float(self) -> None:
        if self.quantization != "int8" or len(self.taps) > 1:
            raise ValueError(
                "Expected keep_float=None, unless an int8 file has one signature. Received: "
                f"keep_float={self.keep_float!r} for {self.quantization!r} and the signatures "
                f"{list(self.taps)}. Export one int8 file for each."
            )
        names = [self.keep_float] if isinstance(self.keep_float, str) else list(self.keep_float)
        if names != ["auto"] and (isinstance(self.keep_float, str) or not names):
            raise ValueError(
                'Expected keep_float="auto" or a list of layers. Received: '
                f"keep_float={self.keep_float!r}. `kd.export.layer_errors` lists the names."
            )

    def _check_signatures(self) -> None:
        if not self.taps or not all(isinstance(key, str) and key for key in self.taps):
            raise ValueError(
                "Expected signatures as a dictionary from a name to a tap, or to None for the "
                f"model's outputs. Received: {self.signatures!r}. Name at least one."
            )
        if len(self.taps) > 1 and self.quantization == "int16x8":
            raise ValueError(
                "Expected one signature for int16x8: with several, the converter gives wrong "
                f"values. Received: {list(self.taps)}. Export one file for each."
            )
