"""Decode files of images, texts and audio."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf

#: What the files with an extension contain.
MEDIA: dict[str, Literal["image", "text", "audio"]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".bmp"), "image"),
    ".txt": "text",
    ".wav": "audio",
}


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads files of one kind.

    Attributes:
        kind: One of the values of `MEDIA`.
        shape: Shape of each sample, to which images are resized and audio is cut or padded with
            zeros; `None` for that of the file.
    """

    kind: str
    shape: tuple[int, ...] | None = None

    @classmethod
    def for_file(cls, file: Path, shape: tuple[int, ...] | None) -> "Reader":
        """Return the reader of a file's kind.

        Raises:
            ValueError: If the kind has no such shape.
        """
        kind = MEDIA[file.suffix.lower()]
        if kind == "text":
            return cls(kind)
        ranks, example = (3,), "(height, width, channels) with 1, 3 or 4 channels"
        if kind == "audio":
            ranks, example = (1, 2), "(length,) or (length, channels)"
        channels = (1, 3, 4) if kind == "image" else None
        wrong = shape is not None and (len(shape) not in ranks or None in shape)
        if wrong or (shape and channels and shape[-1] not in channels):
            raise ValueError(
                f"Expected `input_shape` of {kind} files: {example}. Received: {shape}. Pass the "
                "sizes of one sample, without the batch."
            )
        return cls(kind, shape)

    def read(self, path: tf.Tensor) -> tf.Tensor:
        """Return the sample in a file: an image or audio in float32, or a text."""
        content = tf.io.read_file(path)
        if self.kind == "text":
            return tf.strings.unicode_transcode(content, "UTF-8", "UTF-8", errors="strict")
        sample = self._image(content) if self.kind == "image" else self._audio(content)[0]
        return sample if self.shape is None else tf.ensure_shape(sample, self.shape)

    def measure(self, path: tf.Tensor) -> tf.Tensor:
        """Decode a file; return its own shape, before a conversion, or the length of a text.

        Audio has the sampling rate as a further number.
        """
        if self.kind == "text":
            return tf.strings.length(self.read(path))[None]
        own = dataclasses.replace(self, shape=None)  # A known shape would be read from no file.
        if self.kind == "image":
            return tf.shape(own.read(path))
        sample, rate = own._audio(tf.io.read_file(path))
        return tf.concat([tf.shape(sample), [rate]], 0)

    def fixed(self, paths: list[str], measured: list[Any]) -> "Reader":
        """Return a reader for the shape that all files have, or are converted to.

        Raises:
            ValueError: If two files differ.
        """
        if self.kind == "audio":
            rates = [int(found[-1]) for found in measured]
            measured = [found[:-1] for found in measured]
            other = next((i for i, rate in enumerate(rates) if rate != rates[0]), None)
            if other is not None:
                raise ValueError(
                    f"Expected audio of one sampling rate. Received: {rates[0]} Hz in "
                    f"'{paths[0]}', {rates[other]} Hz in '{paths[other]}'. Resample the files."
                )
        if self.kind == "text" or self.shape is not None:
            return self
        other = next((i for i, found in enumerate(measured) if found != measured[0]), None)
        if other is not None:
            first, second = (tuple(map(int, measured[i])) for i in (0, other))
            raise ValueError(
                f"Expected samples of one shape. Received: {first} in '{paths[0]}', {second} in "
                f"'{paths[other]}'. Pass `input_shape`, to which they are converted."
            )
        return dataclasses.replace(self, shape=tuple(map(int, measured[0])))

    def _image(self, content: tf.Tensor) -> tf.Tensor:
        channels = 0 if self.shape is None else self.shape[-1]
        image = tf.io.decode_image(content, channels, expand_animations=False)
        image = tf.cast(image, tf.float32) / 255
        if self.shape is None:
            return image
        # Without smoothing, small images of large ones would show every n-th pixel only.
        return tf.image.resize(image, self.shape[:2], antialias=True)

    def _audio(self, content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if self.shape is None:
            return tf.audio.decode_wav(content)
        channels = self.shape[1] if len(self.shape) > 1 else 1
        audio, rate = tf.audio.decode_wav(content, channels, self.shape[0])
        return (audio if len(self.shape) > 1 else audio[:, 0]), rate
