"""Teacher outputs on disk, computed once and read in every epoch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_kd.cache.array_batches import open_arrays
from keras_kd.cache.array_join import join_arrays
from keras_kd.cache.builder import BuildPlan, block_rows, build
from keras_kd.cache.cached_teacher import CachedTeacher
from keras_kd.cache.elements import Augment, Source, check_augment
from keras_kd.cache.input_specs import input_names, sample_inputs
from keras_kd.cache.manifest import MANIFEST, Manifest
from keras_kd.cache.reader import Reader, check_blocks
from keras_kd.cache.schema import DTYPES, CacheSchema
from keras_kd.cache.shards import merge_shards, resolve_shard, shard_folder
from keras_kd.cache.teacher_pass import TeacherPass
from keras_kd.display.html_tables import HtmlTables, Table
from keras_kd.files import fields_table, text_fields
from keras_kd.models.tap_names import resolve_tap, tap_names
from keras_kd.models.taps import Tap
from keras_kd.teachers.teacher import Teacher, as_teachers
from keras_kd.training import backend
from keras_kd.training.tf_data import is_dataset


class KnowledgeCache(HtmlTables):
    """Outputs of frozen teachers for each sample of a data set, on disk.

    A frozen teacher returns the same outputs for the same sample in every epoch. `build` computes
    them once and writes them; `join` adds them to the data set, and `Distiller.fit` and
    `TeacherClass.fit` then train without running a teacher. Noise, weighting and class maps apply
    to them as to the outputs of a live teacher.

    On disk each tap is a `.npy` file with a row per sample, which NumPy alone can read
    (`np.load(file, mmap_mode="r")`), and `manifest.json` describes the cache. The inputs of joined
    samples are verified by a digest, the teachers by a fingerprint, and the rows by checksums.

    Args:
        path: A folder written by `build`.

    Raises:
        FileNotFoundError: If there is no cache in the folder.
        CacheError: If the cache is unfinished, damaged or truncated (a `ValueError`).

    Example:
        >>> samples = kd.datasets.load("mnist", batch_size=None, shuffle=False)
        >>> cache = kd.KnowledgeCache.build(teacher, samples, "knowledge")
        >>> train = cache.join(kd.keyed(samples).shuffle(60_000).batch(128))
        >>> distiller = kd.Distiller(student, cache.teachers)
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        if not (self.path / MANIFEST).is_file():
            unfinished = self.path.is_dir() and any(self.path.iterdir())
            raise FileNotFoundError(
                f"KnowledgeCache '{self.path}': there is no {MANIFEST}"
                + (", so its build did not finish. Build again to resume." if unfinished else ".")
                + " Write one with KnowledgeCache.build."
            )
        self.manifest = Manifest.read(self.path)
        self._reader = Reader(self.path, self.manifest)
        self._verified = False

    @classmethod
    def build(
        cls,
        teachers: keras.Model | Teacher | Sequence[keras.Model | Teacher],
        dataset: Any,
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
        """Run the teachers once over a data set and write their outputs.

        Memory use does not depend on the size of the data set. Calling it again resumes an
        interrupted build, or opens a complete cache with the same arguments.

        Args:
            teachers: A trained `keras.Model`, a `kd.Teacher`, or a list of either.
            dataset: A `tf.data.Dataset` of x, (x, y) or (x, y, sample_weight), as single samples or
                batches, in the same order each time; or samples with keys (`kd.keyed`) in any
                order. Arrays, as x or (x, y), are single samples; a `keras.utils.PyDataset` or a
                list holds batches.
            path: A folder; created if it does not exist.
            taps: The layers or outputs to store, by name; `None` for the output. The logits of an
                output are stored, and the values of a hidden layer. Defaults to the output, or to
                all outputs of the first teacher.
            dtype: `"float16"`, or `"float32"` for exact values. A build stops if rounding costs
                more than 1 % of the standard deviation of the values. Defaults to `"float16"`.
            top_k: Number of logits of an output to store, the largest ones, with the mass of the
                others. `join` spreads that mass evenly over the other classes, which is a good
                approximation at temperatures near 1 and a bad one at high temperatures. Defaults
                to `None`, all logits.
            views: Number of augmented views of each sample. Their pixels are not stored; `join`
                computes them again. Defaults to 1, the unchanged sample.
            augment: With several views, a function of one sample's x and a seed, int64 (2,), that
                returns the augmented x. The same seed must give the same pixels: use
                `tf.random.stateless_uniform` and `tf.image.stateless_random_*`.
            seed: Seed of the views. Defaults to 0.
            shard: (i, n) for the i-th of n machines: it processes every n-th sample and writes a
                shard into the folder; `merge` makes one cache from the shards. Defaults to `None`:
                all samples, or the worker's shard under a multi-worker strategy of `tf.distribute`.
            batch_size: Samples per batch for the teachers, if `dataset` has single samples.
                Defaults to 128.
            verbose: 1 for a progress bar with the remaining time, 0 for silence. Defaults to 1.

        Returns:
            The `KnowledgeCache`.

        Raises:
            CacheError: If the data set has other samples when it is read again (a random
                augmentation, a shuffle), `path` has another cache, or values do not fit `dtype`.
            RuntimeError: If another process is building in the folder.
            OSError: If the disk is full.
        """
        teachers = as_teachers(teachers)
        if taps is None and teachers and len(teachers[0].output_names) > 1:
            taps = teachers[0].output_names
        names = [
            resolve_tap(name, [t.original for t in teachers], "taps", "KnowledgeCache.build")
            for name in tap_names(taps, "taps", "KnowledgeCache.build")
        ]
        _check_arguments(teachers, dataset, names, dtype, batch_size)
        _check_views(views, augment)
        shard = resolve_shard(shard)
        source = _open(teachers, dataset, batch_size, shard, views, augment, seed)
        teacher_pass = TeacherPass(teachers, names, source.inputs, dtype, top_k, source.example)
        schema = CacheSchema(
            teachers=teacher_pass.stored,
            inputs=sample_inputs(source.x, source.batched),
            dtype=dtype,
            views=views,
            seed=seed if views > 1 else None,
            shard=shard,
            block_rows=1,
            input_names=input_names(source.x),
        )
        schema = replace(schema, block_rows=block_rows(schema.row_bytes))
        folder = Path(path) if shard is None else shard_folder(Path(path), *shard)
        build(BuildPlan(schema, teacher_pass, source.batches, verbose), folder)
        return cls(folder)

    @classmethod
    def merge(cls, path: str | os.PathLike) -> "KnowledgeCache":
        """Make one cache from the shards that `build(..., shard=(i, n))` wrote.

        Args:
            path: The folder with all shards; copy those of other machines into it. The shards can
                be deleted afterwards.

        Returns:
            The complete `KnowledgeCache`.

        Raises:
            FileNotFoundError: If there are no shards.
            CacheError: If a shard is missing or damaged, or the shards do not match.
            RuntimeError: If another process is merging in the folder.
        """
        merge_shards(Path(path))
        return cls(path)

    @property
    def teachers(self) -> tuple[CachedTeacher, ...]:
        """The teachers for `Distiller`, without their models."""
        return tuple(CachedTeacher(t, str(self.path)) for t in self.manifest.schema.teachers)

    def __repr__(self) -> str:
        lines = [f"  teacher '{name}': {taps}" for name, taps in self._stored().items()]
        return "\n".join([text_fields("KnowledgeCache", self._fields()), *lines])

    def html_tables(self) -> Mapping[str, Table]:
        """Return what is stored."""
        return {
            "KnowledgeCache": fields_table(self._fields()),
            "Stored outputs": Table(("teacher", "taps"), list(self._stored().items())),
        }

    def _fields(self) -> dict[str, Any]:
        schema = self.manifest.schema
        fields = {"path": self.path, "samples": len(self), "dtype": schema.dtype}
        return {
            **fields,
            "shard": schema.shard,
            "views": schema.views if schema.views > 1 else None,
        }

    def _stored(self) -> dict[str, str]:
        """Return the stored taps of each teacher."""
        return {
            teacher.name: ", ".join(str(Tap(tap.name)) for tap in teacher.taps)
            for teacher in self.manifest.schema.teachers
        }

    def __len__(self) -> int:
        """Number of samples."""
        return self.manifest.rows

    def join(
        self,
        dataset: Any,
        augment: Augment | None = None,
        seed: int | None = None,
        verify: bool = True,
    ) -> Any:
        """Add the teacher outputs to a data set.

        Args:
            dataset: The data set of the build, in a form that `build` takes: in the same order, or
                with keys (`kd.keyed`) and then shuffled, repeated and batched as needed. Joining
                batches is fastest. Labels and sample weights stay unchanged. Dict inputs may have
                more keys than those of the build.
            augment: For a cache with several views, the function that made them. Each sample comes
                as one of its views, drawn anew in each epoch.
            seed: Seed of these draws. Defaults to `None`, a random one.
            verify: Whether to compare the files with their checksums, which reads them once, when
                the first data set is joined. Defaults to `True`.

        Returns:
            A data set for `Distiller.fit` and `TeacherClass.fit`, with a tuple of x and the teacher
            outputs in place of x. On the JAX and PyTorch backends: arrays for arrays, as
            `x, y = cache.join((x, y))`, and a `PyDataset` for batches.

        Raises:
            CacheError: If `augment` is missing or not allowed, the inputs have another shape or
                dtype, the data set has more samples than the cache, or a file is damaged. While the
                data set is read: if a sample's input is not the one that the teachers received
                (checked when it first comes, and in one of sixteen batches later).
        """
        if _uses_tf_data(dataset):
            from keras_kd.cache.join import join

            joined = join(self._reader, dataset, augment, seed)
        else:
            check_augment(self._reader, augment)
            joined = join_arrays(self._reader, dataset)
        if verify and not self._verified:
            check_blocks(self.path, self.manifest)
            self._verified = True
        return joined


def _uses_tf_data(data: Any) -> bool:
    """Whether data are read with `tf.data`, which other backends do only if they are such data."""
    return backend.READS_TF_DATA or is_dataset(data)


def _open(
    teachers: Sequence[Teacher],
    data: Any,
    batch_size: int,
    shard: tuple[int, int] | None,
    views: int,
    augment: Augment | None,
    seed: int,
) -> Source:
    """Return the source of a cache for data in any form; see `KnowledgeCache.build`."""
    if not _uses_tf_data(data):
        return open_arrays(data, batch_size, shard, views)
    from keras_kd.cache.dataset_batches import open_dataset

    return open_dataset(teachers, data, batch_size, shard, views, augment, seed)


def _check_views(views: int, augment: Any) -> None:
    if views < 1:
        raise ValueError(
            f"KnowledgeCache.build: `views` must be at least 1. Received: views={views}"
        )
    if (views > 1) != callable(augment):
        raise ValueError(
            "KnowledgeCache.build: several `views` need `augment`, a function of a sample and a "
            "seed, and a single view takes none. "
            f"Received: views={views}, augment={augment!r}"
        )


def _check_arguments(
    teachers: Sequence[Teacher],
    dataset: Any,
    taps: Sequence[Any],
    dtype: str,
    batch_size: int,
) -> None:
    if not teachers or any(teacher.is_cached for teacher in teachers):
        raise ValueError(
            "KnowledgeCache.build: pass at least one live teacher; teachers of a cache have no "
            f"model to run. Received: teachers={[teacher.name for teacher in teachers]}"
        )
    if not taps:
        raise ValueError(
            "KnowledgeCache.build: `taps` must be names of layers or outputs, or None for the "
            f"output. Received: taps={taps!r}"
        )
    if len(set(taps)) < len(taps):
        raise ValueError(f"KnowledgeCache.build: `taps` must be unique. Received: taps={taps!r}")
    if dtype not in DTYPES:
        raise ValueError(
            f"KnowledgeCache.build: `dtype` must be one of {DTYPES}. Received: dtype={dtype!r}"
        )
    if batch_size < 1:
        raise ValueError(
            "KnowledgeCache.build: `batch_size` must be at least 1. "
            f"Received: batch_size={batch_size}"
        )
