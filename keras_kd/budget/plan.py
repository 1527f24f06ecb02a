"""What a search will train: which students fit into the limits, before any of them is trained."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from keras_kd.budget.files import CompressedFile, FileWriter, is_within
from keras_kd.budget.limits import Limits
from keras_kd.budget.problem import Problem
from keras_kd.budget.recipe import make_configs
from keras_kd.budget.schedule import Config, Descent, Halving, Once, Schedule
from keras_kd.budget.students import Students
from keras_kd.report.costs import measure_costs

#: Trainings of the first stage.
TRIALS = 12
_ATTEMPTS, _MARGIN, _NEAR, _RUNS = 4, 0.96, 0.99, 100
#: Without a limit of the size: each size that is tried is this part of the one before.
_SHRINKAGE, _MOST_SIZES = 0.6, 12
#: The part of a full training for the smallest student, if it is too large.
_SHORT = 1 / 12
#: Bytes per weight of the formats that are tried on the teacher itself.
_BYTES = {"int8": 1, "dynamic": 1, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Plan:
    """The plan of a search.

    Attributes:
        configs: What the first stage trains.
        sizes: Without a limit of costs, the sizes among which the smallest is searched.
        own: With sizes, the families of a fixed size.
        teacher: Score and costs of the teacher, and its own files within the limits of costs.
        notes: What did not fit, and why.
        least: If nothing fits, the costs of the smallest student; it alone is trained, briefly.
    """

    configs: list[Config]
    sizes: list[dict[str, float]]
    own: list[str]
    teacher: dict[str, Any]
    notes: list[str]
    least: dict[str, Any] | None = None

    def schedule(self, seed: int) -> Schedule:
        """Return the schedule of the search."""
        if self.least is not None:
            return Once("least", self.configs[0], _SHORT, seed)
        search = Halving(self.configs, seed)
        return Descent(search, self.sizes, self.own) if self.sizes else search

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Plan":
        """Return the plan of such a dictionary."""
        return cls(**{**values, "configs": [Config(**config) for config in values["configs"]]})


@dataclass(frozen=True)
class Planner:
    """Makes the plan of a search.

    Attributes:
        problem: The problem.
        limits: The limits.
        students: The students.
        writer: Writes the files of the teacher, and measures untrained students.
        trials: Trainings of the first stage.
        seed: Seed of the search.
    """

    problem: Problem
    limits: Limits
    students: Students
    writer: FileWriter
    trials: int
    seed: int

    def make(self) -> Plan:
        """Return the plan."""
        notes: list[str] = []
        teacher = self._measure_teacher(notes)
        files = [CompressedFile.from_dict(f, self.writer.folder) for f in teacher["files"]]
        strict = Limits(**{**asdict(self.limits), "max_drop": self.limits.drop})
        if self.limits.has_cost and any(is_within(f, strict, teacher["score"]) for f in files):
            return Plan([], [], [], teacher, [*notes, "The teacher itself fits: nothing to train"])
        if not self.limits.has_cost:
            return self._plan_descent(teacher, notes)
        families = self._fitting(notes)
        if not families:
            return self._plan_least(teacher, notes)
        configs = make_configs(families, self.problem, self.trials, self.seed)
        return Plan(configs, [], [], teacher, notes)

    def _measure_teacher(self, notes: list[str]) -> dict[str, Any]:
        """Return score and costs of the teacher, and its files that may be within the limits."""
        problem, limits = self.problem, self.limits
        costs = measure_costs(problem.teacher, _RUNS)
        formats = [
            name
            for name, size in _BYTES.items()
            if limits.max_bytes is None or problem.teacher.count_params() * size <= limits.max_bytes
        ]
        if limits.max_macs is not None and (costs.get("macs") or 0) > limits.max_macs:
            formats = []
        files, failed = self.writer.write(problem.teacher, "teacher", formats)
        notes += [f"The teacher as {name}: {reason}" for name, reason in failed.items()]
        found = [self.writer.test(file).as_dict(self.writer.folder) for file in files]
        return {
            "score": problem.score(problem.teacher),
            "test_score": problem.score(problem.teacher, problem.test),
            "files": found,
            **{name: costs.get(name) for name in ("size", "latency_us", "macs", "parameters")},
        }

    def _fitting(self, notes: list[str]) -> dict[str, dict[str, float]]:
        """Return the families that fit, and the limits that their predicted sizes must obey."""
        found: dict[str, dict[str, float]] = {}
        seen, measured = set(), {}
        for family in self.students.families:
            if not self.students.is_shrunk(family):
                if self.students.builds(family) or self._own_fits(family, notes):
                    found[family] = {}
                continue
            limits = self._fit(family, measured)
            if limits is None:
                notes.append(f"{family}: even one channel of each group is too much")
                continue
            size = self.students.size(family, limits)
            key = (size, self.students.is_trained(family))
            if key not in seen:  # One group of channels has one allocation.
                found[family] = limits
            seen.add(key)
        return found

    def _own_fits(self, family: str, notes: list[str]) -> bool:
        costs = self._measure(family, {})
        if self.limits.excess(costs) <= 1:
            return True
        notes.append(f"{family} does not fit: its int8 file has {_describe(costs)}")
        return False

    def _fit(self, family: str, measured: dict[Any, Any]) -> dict[str, float] | None:
        """Return limits of predicted sizes with which the int8 file is within the real ones.

        Families of one architecture are measured once.
        """
        given = {"int8_bytes": self.limits.max_bytes, "macs": self.limits.max_macs}
        limits = {name: float(value) for name, value in given.items() if value is not None}
        fitting, fullest = None, 0.0
        for _ in range(_ATTEMPTS):
            size = self.students.size(family, limits)
            if size is None:
                break
            if size not in measured:
                measured[size] = self._measure(family, limits)
            costs = measured[size]
            excess = self.limits.excess(costs)
            if fullest < excess <= 1:
                fitting, fullest = dict(limits), excess
            # The prediction of a small file may be some percent too large, or too small.
            if _MARGIN < excess <= 1 or (excess <= 1 and self.limits.max_bytes is None):
                break
            self._correct(limits, size, costs)
        return fitting

    def _correct(self, limits: dict[str, float], size: Any, costs: Mapping[str, Any]) -> None:
        """Change limits of predictions by how far these are from the real costs."""
        given = self.limits
        if given.max_bytes is not None:
            limits["int8_bytes"] = _NEAR * size.int8_bytes * given.max_bytes / costs["size"]
        for cost, limit in (
            (costs["macs"], given.max_macs),
            (costs["latency_us"], given.max_latency_us),
        ):
            if limit is not None and cost is not None and cost > limit:
                limits["macs"] = _MARGIN * size.macs * limit / cost

    def _measure(self, family: str, limits: Mapping[str, float]) -> dict[str, Any]:
        """Return the costs of a family's untrained int8 file."""
        student = self.students.build(Config(family, limits, "", 0.0), None, self.seed)
        return self.writer.measure(student, self.limits.max_latency_us is not None)

    def _plan_descent(self, teacher: dict[str, Any], notes: list[str]) -> Plan:
        """Return the plan for the smallest file within the drop."""
        shrunk = [f for f in self.students.families if self.students.is_shrunk(f)]
        own = [f for f in self.students.families if not self.students.is_shrunk(f)]
        if not shrunk:
            fixed = {family: {} for family in own}
            configs = make_configs(fixed, self.problem, self.trials, self.seed)
            return Plan(configs, [], [], teacher, notes)
        least, sizes = self.students.least("int8_bytes"), []
        size = float(self.students.size(shrunk[0], {}).int8_bytes)
        while size * _SHRINKAGE > least and len(sizes) < _MOST_SIZES:
            size *= _SHRINKAGE
            sizes.append({"int8_bytes": float(math.ceil(size))})
        sizes = sizes or [{"int8_bytes": float(least)}]
        middle = sizes[len(sizes) // 2]
        families = {f: middle for f in shrunk if self.students.size(f, middle) is not None}
        configs = make_configs(families, self.problem, self.trials, self.seed)
        return Plan(configs, sizes, own, teacher, notes)

    def _plan_least(self, teacher: dict[str, Any], notes: list[str]) -> Plan:
        """Return the plan for limits that nothing is within: the student that is nearest."""
        found = []
        for family in self.students.families:
            if self.students.builds(family):
                continue
            limits = {}
            if self.students.is_shrunk(family):
                limits = {"parameters": float(self.students.least_of(family, "parameters"))}
            costs = self._measure(family, limits)
            found.append((self.limits.excess(costs), len(found), family, limits, costs))
        _, _, family, limits, costs = min(found)
        (config,) = make_configs({family: limits}, self.problem, 1, self.seed)
        return Plan([config], [], [], teacher, notes, least=costs)


def _describe(costs: Mapping[str, Any]) -> str:
    parts = [f"{costs['size']:,} bytes", f"{costs['macs']:,} MACs"]
    return ", ".join(parts)
