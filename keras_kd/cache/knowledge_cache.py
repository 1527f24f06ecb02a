"""What the teachers say, kept on disk: asked once, learned from in every epoch."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_kd.cache.builder import Plan, block_rows, build
from keras_kd.cache.cached_teacher import CachedTeacher
from keras_kd.cache.input_specs import described, teachers_take_batches
from keras_kd.cache.join import join
from keras_kd.cache.keys import key_of, require_dataset, split
from keras_kd.cache.manifest import NAME, Manifest
from keras_kd.cache.reader import Reader
from keras_kd.cache.schema import DTYPES, Content
from keras_kd.cache.shards import checked_shard, merge, part_folder
from keras_kd.cache.teacher_batches import taught
from keras_kd.cache.teacher_pass import Interview
from keras_kd.cache.views import Augment
from keras_kd.teachers.knowledge import CacheError
from keras_kd.teachers.teacher import Teacher, as_teachers


class KnowledgeCache:
    """Knowledge on disk: what frozen teachers say of each sample of a data set, found by its key.

    A frozen teacher says the same of the same sample in every epoch. `build` asks once and writes;
    `join` gives the data set with the knowledge in it, on which `Distiller.fit` and
    `TeacherClass.fit` train without running a teacher. Noise, weighting and class maps act on it as
    on a live teacher's words.

    On disk each tap is one `.npy` file, a row for each sample, which NumPy reads alone
    (`np.load(file, mmap_mode="r")`), and `manifest.json` says what it is of. Nothing is taken on
    trust: the inputs of each sample that is joined are held against a digest of those that the
    teachers saw, the teachers against a fingerprint, the rows against checksums.

    Args:
        path: The folder that `build` wrote.

    Raises:
        FileNotFoundError: When there is no cache there.
        CacheError: When it is unfinished, damaged or cut short (a `ValueError`).

    Example:
        >>> samples = kd.datasets.load("mnist", batch_size=None, shuffle=False)
        >>> cache = kd.KnowledgeCache.build(teacher, samples, "knowledge")
        >>> train = cache.join(kd.keyed(samples).shuffle(60_000).batch(128))
        >>> distiller = kd.Distiller(student, cache.teachers)
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if not (self.path / NAME).is_file():
            begun = self.path.is_dir() and any(self.path.iterdir())
            raise FileNotFoundError(
                f"KnowledgeCache '{self.path}': there is no {NAME}"
                + (", so its build did not finish. Build again: it goes on." if begun else ".")
                + " Write one with KnowledgeCache.build."
            )
        self.manifest = Manifest.read(self.path)
        self._reader = Reader(self.path, self.manifest)
        self._verified = False

    @classmethod
    def build(
        cls,
        teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
        dataset: tf.data.Dataset,
        path: str | os.PathLike,
        taps: str | Sequence[str | None] | None = None,
        dtype: str = "float16",
        top_k: int | None = None,
        views: int = 1,
        augment: Augment | None = None,
        seed: int = 0,
        shard: tuple[int, int] | None = None,
        batch_size: int = 128,
        verbose: int = 1,
    ) -> "KnowledgeCache":
        """Runs the teachers once over some data and writes what they say.

        Memory stays the same whatever the size. A build that is stopped goes on where it was when
        it is called again; a whole cache of the same content is opened as it is.

        Args:
            teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either.
            dataset: A `tf.data.Dataset` of x, (x, y) or (x, y, sample_weight), single samples or
                batches, that gives the same samples in the same order each time; or samples with
                keys (`kd.keyed`), in any order.
            path: A folder, made if need be.
            taps: The places that are stored, by name; `None` for the logits of the output. Of an
                output the logits are stored, of a hidden layer what it gives. Defaults to the
                output.
            dtype: `"float16"`, or `"float32"` for the very values. Defaults to `"float16"`.
            top_k: Of the logits of an output, keep the k largest and the mass of the rest; they are
                joined with that mass spread evenly over the other classes, which a temperature
                near 1 bears and a high one does not. Defaults to `None`: all.
            views: How many augmented views of each sample the teachers see. Their pixels are not
                stored: `join` makes them again. Defaults to 1, the sample as it is.
            augment: With several views, a function of one sample's x and a seed, int64 (2,), that
                gives the augmented x. The same seed must give the same pixels: take its random
                numbers from `tf.random.stateless_uniform` and `tf.image.stateless_random_*`.
            seed: Seed of the views. Defaults to 0.
            shard: (i, n) for the i-th of n machines: it asks its teachers about every n-th sample
                and writes a part into the folder; `merge` makes one cache of the parts. Defaults
                to `None`: all samples, or under a multi-worker strategy of `tf.distribute` the
                worker's own part.
            batch_size: Samples of a batch for the teachers, where `dataset` gives single samples.
                Defaults to 128.
            verbose: 1 for a progress bar with the time left, 0 for silence. Defaults to 1.

        Returns:
            The `KnowledgeCache`.

        Raises:
            CacheError: When the data set gives other samples when it is read again (a random
                augmentation, a shuffle), `path` holds a cache of something else, or a value does
                not fit `dtype`.
            RuntimeError: When another process is building there.
            OSError: When the disk is full.
        """
        teachers = as_teachers(teachers)
        names = list(taps) if isinstance(taps, (list, tuple)) else [taps]
        _check(teachers, dataset, names, dtype, batch_size)
        _check_views(views, augment)
        shard = checked_shard(shard)
        x, _ = key_of(split(dataset.element_spec)[0])
        batched = teachers_take_batches(teachers, x)
        batches = taught(dataset, batched, batch_size, shard, views, augment, seed)
        interview = Interview(teachers, names, batches.element_spec.x, dtype, top_k)
        content = Content(
            teachers=interview.stored,
            inputs=described(x, batched),
            dtype=dtype,
            views=views,
            seed=seed if views > 1 else None,
            shard=shard,
            block_rows=1,
        )
        content = content.with_blocks(block_rows(content.row_bytes))
        folder = Path(path) if shard is None else part_folder(Path(path), *shard)
        build(Plan(content, interview, batches, verbose), folder)
        return cls(folder)

    @classmethod
    def merge(cls, path: str | os.PathLike) -> "KnowledgeCache":
        """Makes one cache of the parts that `build(..., shard=(i, n))` wrote.

        Args:
            path: The folder that all parts are in, copied there if they were built elsewhere.
                Afterwards they may be deleted.

        Returns:
            The whole `KnowledgeCache`.

        Raises:
            FileNotFoundError: When there are no parts.
            CacheError: When one is missing or damaged, or they are not parts of the same.
            RuntimeError: When another process is at it.
        """
        merge(Path(path))
        return cls(path)

    @property
    def teachers(self) -> tuple[CachedTeacher, ...]:
        """The teachers as the cache knows them, for `Distiller`: no model is loaded."""
        return tuple(CachedTeacher(t, str(self.path)) for t in self.manifest.content.teachers)

    def __len__(self) -> int:
        """How many samples it holds."""
        return self.manifest.rows

    def join(
        self,
        dataset: tf.data.Dataset,
        augment: Augment | None = None,
        seed: int | None = None,
        verify: bool = True,
    ) -> tf.data.Dataset:
        """Gives each sample what the teachers said of it.

        Args:
            dataset: The data set that the cache was built with: in the same order, or with keys
                (`kd.keyed`), then shuffled, repeated and batched as you like. Joining batches is
                fastest. What is not joined stays as it is: labels, sample weights.
            augment: For a cache of several views, the function that made them: each sample comes as
                one of its views, drawn anew in each epoch.
            seed: Seed of these draws. Defaults to `None`: another one each time.
            verify: Whether to hold all that is on disk against its checksums, which reads it once,
                when the first data set is joined. Defaults to `True`.

        Returns:
            A data set with a `Lesson` in place of x, for `Distiller.fit` and `TeacherClass.fit`.

        Raises:
            CacheError: When `augment` is missing or not wanted, the inputs are of another kind, the
                data set has more samples than the cache, or what is on disk was damaged. While the
                data are read: when a sample's input is not the one that the teachers saw (each is
                looked at when it first comes, and one batch in sixteen later on).
        """
        joined = join(self._reader, dataset, augment, seed)
        if verify and not self._verified:
            self._reader.verify()
            self._verified = True
        return joined


def _check_views(views: int, augment: Any) -> None:
    if views < 1:
        raise ValueError(
            f"KnowledgeCache.build: `views` must be at least 1. Received: views={views}"
        )
    if (views > 1) != callable(augment):
        raise ValueError(
            "KnowledgeCache.build: several `views` are made by `augment`, a function of a sample "
            "and a seed, and one view is the sample as it is. "
            f"Received: views={views}, augment={augment!r}"
        )


def _check(
    teachers: Sequence[Teacher],
    dataset: Any,
    taps: Sequence[Any],
    dtype: str,
    batch_size: int,
) -> None:
    require_dataset(dataset, "KnowledgeCache.build")
    if not teachers or any(teacher.is_cached for teacher in teachers):
        raise ValueError(
            "KnowledgeCache.build: pass at least one live teacher; those of a cache have no model "
            f"to run. Received: teachers={[teacher.name for teacher in teachers]}"
        )
    if not taps or not all(isinstance(tap, (str, type(None))) for tap in taps):
        raise ValueError(
            "KnowledgeCache.build: `taps` must be names of layers or outputs, or None for the "
            f"output. Received: taps={taps!r}"
        )
    if len(set(taps)) < len(taps):
        raise ValueError(
            f"KnowledgeCache.build: each of `taps` may come once. Received: taps={taps!r}"
        )
    if dtype not in DTYPES:
        raise ValueError(
            f"KnowledgeCache.build: `dtype` must be one of {DTYPES}. Received: dtype={dtype!r}"
        )
    if batch_size < 1:
        raise ValueError(
            "KnowledgeCache.build: `batch_size` must be at least 1. "
            f"Received: batch_size={batch_size}"
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise CacheError(
            "KnowledgeCache.build: the data set repeats without end. Take the `repeat` away, or "
            "call it after `join`."
        )
