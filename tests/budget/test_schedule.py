"""Which trainings a search runs, and which go on."""

import pytest

from keras_kd.budget.schedule import Descent, Halving, Once, Slot, make_slots, rank
from tests.budget.fakes import config, configs, result


def run(schedule, score):
    """Run a schedule with a function as its trainings; return the stages."""
    stages = []
    while slots := schedule.next(stages):
        stages.append([score(slot) for slot in slots])
    return stages


@pytest.mark.parametrize(
    ("count", "counts"), [(1, [1]), (2, [2, 1]), (5, [5, 1]), (6, [6, 2, 1]), (12, [12, 4, 2])]
)
def test_fewer_trainings_go_on_and_the_last_ones_are_full(count, counts):
    stages = run(Halving(configs(count)), result)
    assert [len(stage) for stage in stages] == counts
    assert [stage[0].slot.final for stage in stages] == [*[False] * (len(counts) - 1), True]
    assert stages[-1][0].slot.part == 1


def test_the_best_ones_go_on_with_what_a_builder_suggested():
    scores = {f"f{i}": i / 10 for i in range(6)}
    params = {"width": 3}
    stages = run(
        Halving(configs(6)),
        lambda slot: result(slot, scores[slot.config.family], params=params),
    )
    assert [r.slot.config.family for r in stages[1]] == ["f5", "f4"]
    assert [r.slot.config for r in stages[2]] == [config("f5", params=params)]


def test_the_cost_is_the_sum_of_the_parts():
    schedule = Halving(configs(12))
    stages = run(schedule, result)
    assert schedule.cost == pytest.approx(sum(r.slot.part for stage in stages for r in stage))
    assert schedule.cost == pytest.approx(4)


@pytest.mark.parametrize("smallest", range(-1, 5))
def test_a_descent_finds_the_smallest_size_within_the_drop(smallest):
    sizes = [{"int8_bytes": float(size)} for size in (500, 400, 300, 200, 100)]
    search = Halving([config(limits=sizes[2])])

    def train(slot):
        at = sizes.index(slot.config.limits)
        return result(slot, 1 - at / 10, met=at <= smallest)

    stages = run(Descent(search, sizes), train)
    met = [sizes.index(r.slot.config.limits) for stage in stages for r in stage if r.met]
    assert max(met, default=-1) == smallest
    assert len(stages) <= 3


def test_a_descent_tries_students_of_a_fixed_size_at_the_end():
    sizes = [{"int8_bytes": 300.0}]
    schedule = Descent(Halving(configs(6)), sizes, ["students[0]"])
    stages = run(schedule, lambda slot: result(slot, met=True))
    assert [len(stage) for stage in stages] == [6, 2, 1, 1]
    assert stages[-1][0].slot.config == config("students[0]")


def test_one_training_alone_is_final():
    (stage,) = run(Once("late", config(), 0.3), result)
    assert (stage[0].slot.name, stage[0].slot.part, stage[0].slot.final) == ("late-00", 0.3, True)


def test_slots_have_their_own_seeds_and_survive_json():
    slots = make_slots("0", configs(3), 0.5, seed=1, final=False)
    assert len({slot.seed for slot in [*slots, *make_slots("0", configs(3), 0.5, 2, False)]}) == 6
    assert Slot.from_dict(slots[1].as_dict()) == slots[1]


def test_equal_scores_are_ranked_by_name():
    slots = make_slots("0", configs(3), 0.5, 0, False)
    ranked = rank([result(slots[2]), result(slots[0]), result(slots[1], 0.9)])
    assert [r.slot.name for r in ranked] == ["0-01", "0-00", "0-02"]
