"""What a `KnowledgeCache` holds of a teacher's layer: a representation without the teacher."""

from typing import Any

from keras_kd.models.taps import Tap
from keras_kd.teacher_class.representation import MIMIC, Representation, checked_shape
from keras_kd.teachers.placing import replicate_teacher
from keras_kd.teachers.teacher import Teacher, as_teachers


def representation_of(teacher: Any, layer: str, mimic: str = "output") -> "Representation":
    """What a live teacher has at a layer, or one that a `KnowledgeCache` recorded.

    The arguments and errors are those of `Representation`.
    """
    if mimic not in MIMIC:
        raise ValueError(f"TeacherClass: `mimic` must be one of {MIMIC}. Received: {mimic!r}")
    teacher = replicate_teacher(as_teachers(teacher)[0])
    if teacher.model is None and not teacher.recorded:
        raise ValueError(
            f"TeacherClass: teacher '{teacher.name}' is a .tflite file, which shows no layers. "
            f"Pass the Keras model. Received: layer={layer!r}"
        )
    kind = RecordedRepresentation if teacher.recorded else Representation
    return kind(teacher, layer, mimic)


class RecordedRepresentation(Representation):
    """What a `KnowledgeCache` holds of a teacher at a layer; there is no model to run.

    Raises:
        ValueError: When the cache does not have the layer, or `mimic` is not `"output"`.
    """

    def __init__(self, teacher: Teacher, layer: str, mimic: str = "output") -> None:
        self.teacher, self.layer, self.mimic = teacher, layer, mimic
        self._require_output()
        tap = Tap(layer)
        self.shape = checked_shape(teacher.watch([tap]).shapes[tap], teacher.name, layer)

    def require_lesson(self, lesson: Any) -> None:
        """As for a live teacher; and there must be a lesson."""
        if lesson is None:
            raise ValueError(
                f"TeacherClass: teacher '{self.teacher.name}' is only on disk, so the class learns "
                "from a data set with its knowledge in it. Pass `cache.join(dataset)`."
            )
        super().require_lesson(lesson)

    def _said(self, x: Any) -> Any:
        self.require_lesson(None)

    def activation(self) -> None:
        """Not known without the model."""
        self._require_model()

    def head(self) -> None:
        """Not there without the model."""
        self._require_model()

    def _require_model(self) -> None:
        raise ValueError(
            f"TeacherClass: teacher '{self.teacher.name}' is only on disk, and what follows its "
            f"layer '{self.layer}' is not. Call `set_teacher(model)` before `assemble`."
        )
