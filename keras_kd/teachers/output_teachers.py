"""One teacher for each output of a student, which run as one teacher with several outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_kd.models.inputs import ModelInputs
from keras_kd.models.taps import Tap
from keras_kd.models.task import Evidence
from keras_kd.teachers.base import BaseTeacher
from keras_kd.teachers.fingerprint import Fingerprint, digest_of
from keras_kd.teachers.precomputed_teacher import PrecomputedTeacher


class OutputTeachers(BaseTeacher):
    """One teacher for each output of a student, made of a dictionary of teachers.

    Each teacher gets the same batch and takes its part of it, with its own preprocessing. The tap
    `output` is the output of the teacher of that name (its output of that name, if it has several),
    and `output/layer` a layer of it.

    Args:
        teachers: The teachers by output.

    Raises:
        ValueError: If there are none, or one cannot run, because its outputs are stored or part of
            the data, or has `classes`.
    """

    def __init__(self, teachers: Mapping[str, BaseTeacher]) -> None:
        _check(teachers)
        super().__init__(", ".join(one.name for one in teachers.values()), None, "auto", None)
        self.teachers = dict(teachers)

    @property
    def parts(self) -> tuple[BaseTeacher, ...]:
        """The teachers that run."""
        return tuple(self.teachers.values())

    @property
    def supports_jit(self) -> bool:
        """Whether XLA can compile all of them."""
        return all(one.supports_jit for one in self.parts)

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables of all teachers, each once."""
        return list({id(v): v for one in self.parts for v in one.variables}.values())

    @property
    def parameters(self) -> int:
        """Number of weights of all teachers, counted as scalars."""
        return sum(one.parameters for one in self.parts)

    @property
    def output_names(self) -> list[str]:
        """The outputs that have a teacher."""
        return list(self.teachers)

    @property
    def inputs(self) -> ModelInputs | None:
        """The inputs of the first teacher; each is checked on its own."""
        return self.parts[0].inputs

    @property
    def input_count(self) -> int:
        """The greatest number of inputs of a teacher."""
        return max(one.input_count for one in self.parts)

    def check_batch(self, x: Any) -> None:
        """Reject a dict batch that lacks what one of the teachers takes."""
        for one in self.parts:
            one.check_batch(x)

    def fingerprint(self, inputs: Any) -> Fingerprint:
        """Return the digests that identify all teachers and their outputs."""
        prints = {name: one.fingerprint(inputs) for name, one in self.teachers.items()}
        preprocessing = {name: one.preprocessing for name, one in prints.items()}
        return Fingerprint(
            digest_of([one.weights for one in prints.values()]),
            digest_of({name: one.config for name, one in prints.items()}),
            # The first letter is the version of the digests.
            f"s{digest_of(preprocessing)}" if any(preprocessing.values()) else "",
        )

    def prepare(self, x: Any) -> dict[str, Any]:
        """Return a batch after each preprocessing, by output."""
        named = self.teachers.items()
        return {name: one.prepare(x) for name, one in named if one.preprocessing is not None}

    def evidence(self) -> dict[str, Evidence]:
        """Return what is known of each output."""
        found = {}
        for name in self.teachers:
            teacher, tap = self.route(Tap(name))
            evidence = teacher.evidence()
            found[name] = evidence[tap.name or next(iter(evidence))]
        return found

    def route(self, tap: Tap) -> tuple[BaseTeacher, Tap]:
        """Return the teacher of a tap, and the tap in it.

        Raises:
            ValueError: If no teacher has it.
        """
        output, _, layer = (tap.name or "").partition("/")
        if output not in self.teachers:
            raise ValueError(
                f"Each of the outputs {list(self.teachers)} has a teacher, so a tap is the name of "
                "an output, or 'OUTPUT/LAYER' for a layer of its teacher. "
                f"Received: teacher_tap={tap.name!r}"
            )
        teacher = self.teachers[output]
        if layer:
            return teacher, Tap(layer, tap.logits)
        names = teacher.output_names
        return teacher, Tap(output if len(names) > 1 and output in names else None, tap.logits)

    def unused_outputs(self, taps: Sequence[Tap]) -> list[str]:
        """Return the outputs whose teacher has none of the taps."""
        used = {(tap.name or "").partition("/")[0] for tap in taps}
        return [name for name in self.teachers if name not in used]

    def watch(self, taps: Sequence[Tap]) -> "WatchedOutputTeachers":
        """Return a callable that maps a batch to a dict from tap to tensor.

        Raises:
            ValueError: If a tap does not exist or its logits cannot be determined.
        """
        return WatchedOutputTeachers(self, taps)


class WatchedOutputTeachers:
    """Teachers of several outputs and the taps to return; made by `OutputTeachers.watch`."""

    def __init__(self, teacher: OutputTeachers, taps: Sequence[Tap]) -> None:
        self.teacher = teacher
        routes = {tap: teacher.route(tap) for tap in taps}
        wanted = {}
        for one, inner in routes.values():
            wanted.setdefault(id(one), (one, []))[1].append(inner)
        self._watched = {key: one.watch(inner) for key, (one, inner) in wanted.items()}
        self._places = {tap: (id(one), inner) for tap, (one, inner) in routes.items()}
        self.shapes = {t: self._watched[key].shapes[i] for t, (key, i) in self._places.items()}
        logits = {tap: place for tap, place in self._places.items() if tap.logits}
        #: As for `TappedModel`.
        self.kinds = {tap: self._watched[key].kinds[i] for tap, (key, i) in logits.items()}
        self.activations = {
            tap: self._watched[key].activations[i] for tap, (key, i) in logits.items()
        }

    def __call__(self, x: Any) -> dict[Tap, Any]:
        """Run each teacher once on a batch."""
        outputs = {key: watched(x) for key, watched in self._watched.items()}
        return {tap: outputs[key][inner] for tap, (key, inner) in self._places.items()}


def _check(teachers: Mapping[str, BaseTeacher]) -> None:
    if not teachers or not all(isinstance(name, str) and name for name in teachers):
        raise ValueError(
            "A dictionary of teachers must have the names of the student's outputs as its keys. "
            f"Received: teachers={list(teachers)}"
        )
    for name, one in teachers.items():
        if one.is_cached or isinstance(one, (PrecomputedTeacher, OutputTeachers)):
            raise ValueError(
                f"A teacher for one output must be a model that runs. Received: {one!r} for the "
                f"output '{name}'. Build one cache of the dictionary of live teachers, "
                "kd.KnowledgeCache.build({...}), or pass precomputed outputs of several outputs "
                "as one teacher with a key for each, kd.Teacher.from_outputs({...})."
            )
        if one.classes is not None:
            raise ValueError(
                "`classes` is not supported for teachers by output. Received: "
                f"classes={one.classes} of teacher '{one.name}' for the output '{name}'. If it has "
                "all classes of that output, select and order its columns instead: "
                "keras.Model(model.inputs, keras.ops.take(model.outputs[0], COLUMNS, axis=-1)), as "
                "a kd.Teacher with `outputs` 'logits' or 'probabilities'."
            )
