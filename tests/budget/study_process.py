"""A process that works on a study with trainings that only write their name to a file."""

import sys
import time
from pathlib import Path

from keras_kd.budget.schedule import Config, Halving, Result
from keras_kd.budget.study import Study


def main(folder, seconds):
    folder = Path(folder)

    def run(slot, trial):
        with open(folder / "started", "a") as file:
            file.write(f"{slot.name}\n")
        time.sleep(float(seconds))
        return Result(slot, int(slot.config.family[1:]) / 10, slot.final, {"params": {}})

    configs = [Config(f"f{i}", {}, "DIST", 0.01) for i in range(9)]
    Study(folder, "study").work(Halving(configs), run)


if __name__ == "__main__":
    main(*sys.argv[1:])
