"""The trainings of a search in a study of Optuna, which survives its processes.

Each training has a slot with a name. The first trial of a slot that did not fail is the one that
counts, so that a trial that two processes add at once is run once.
"""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from keras_kd.budget.schedule import Result, Schedule, Slot

try:
    import optuna
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "kd.compress needs Optuna, which is not installed: pip install 'keras_kd[search]'.",
        name=error.name,
    ) from error

_SLOT, _RESULT, _WORKER, _BEAT, _PLAN = "slot", "result", "worker", "beat", "plan"
#: Seconds between two looks at the trials of other processes, and between two signs of life.
_POLL, _HEARTBEAT = 1.0, 30.0
#: Seconds without a sign of life after which a process on another machine counts as dead.
_PATIENCE = 300.0
#: Seconds that SQLite waits for another process.
_BUSY = 120


class Study:
    """A study that several processes may work on.

    Args:
        folder: The folder of the search; the study is in it unless there is a `storage`.
        name: The name of the study.
        storage: An Optuna storage URL that several machines reach. Defaults to SQLite in `folder`.
    """

    def __init__(self, folder: Path, name: str, storage: str | None = None) -> None:
        self._lock = filelock.FileLock(folder / "study.lock")
        self._workers = folder / "workers"
        self._workers.mkdir(exist_ok=True)
        self._watched: dict[int, tuple[Any, float]] = {}
        url = storage or f"sqlite:///{(folder / 'study.db').absolute()}"
        with self._lock, _quiet():
            options = {"connect_args": {"timeout": _BUSY}} if url.startswith("sqlite") else {}
            self._storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, direction="maximize", load_if_exists=True
            )

    def plan(self, make: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the plan of the study; the first process makes it while others wait."""
        with self._lock:
            if _PLAN not in self._study.user_attrs:
                self._study.set_user_attr(_PLAN, make())
            return self._study.user_attrs[_PLAN]

    def results(self, schedule: Schedule) -> list[list[Result]]:
        """Return the results of the finished stages."""
        stages: list[list[Result]] = []
        firsts = self._first_trials()
        while slots := schedule.next(stages):
            found = [_result(firsts.get(slot.name)) for slot in slots]
            if None in found:
                break
            stages.append(found)
        return stages

    def finished(self) -> list[Result]:
        """Return the results of all finished trainings, by name."""
        found = map(_result, self._first_trials().values())
        return sorted(filter(None, found), key=lambda result: result.slot.name)

    def work(
        self,
        schedule: Schedule,
        run: Callable[[Slot, Any], Result],
        stop: Callable[[Slot], bool] = lambda slot: False,
    ) -> list[list[Result]]:
        """Run trainings until all are finished, by this process or another one.

        Args:
            schedule: What to train.
            run: Runs a training, with the Optuna trial, from which a builder gets suggestions.
            stop: Whether not to start a training. Defaults to never.

        Returns:
            The results of the finished stages.
        """
        with self._alive() as worker:
            while slots := schedule.next(stages := self.results(schedule)):
                self._add_missing(slots)
                claimed = self._claim(slots, worker, stop)
                if claimed is not None:
                    self._run(*claimed, run)
                elif any(map(stop, slots)):
                    break
                elif not self._fail_dead():
                    time.sleep(_POLL)
            return stages

    def _first_trials(self) -> dict[str, Any]:
        """Return the trial that counts of each slot."""
        firsts: dict[str, Any] = {}
        for trial in self._study.get_trials(deepcopy=False):
            failed = trial.state == optuna.trial.TrialState.FAIL
            if _SLOT in trial.user_attrs and not failed:
                firsts.setdefault(trial.user_attrs[_SLOT]["name"], trial)
        return firsts

    def _add_missing(self, slots: Sequence[Slot]) -> None:
        with self._lock:
            firsts = self._first_trials()
            for slot in slots:
                if slot.name not in firsts:
                    waiting = optuna.trial.create_trial(
                        state=optuna.trial.TrialState.WAITING, user_attrs={_SLOT: slot.as_dict()}
                    )
                    self._study.add_trial(waiting)

    def _claim(
        self, slots: Sequence[Slot], worker: str, stop: Callable[[Slot], bool]
    ) -> tuple[Slot, int] | None:
        """Return the first waiting training of a stage, which is then this process's own."""
        # SQLite alone would give one trial to two processes.
        with self._lock:
            firsts = self._first_trials()
            for slot in slots:
                trial = firsts[slot.name]
                if trial.state != optuna.trial.TrialState.WAITING or stop(slot):
                    continue
                running = optuna.trial.TrialState.RUNNING
                # Before the state, so that a kill in between leaves no trial without a worker.
                self._storage.set_trial_user_attr(trial._trial_id, _WORKER, worker)
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                    if self._storage.set_trial_state_values(trial._trial_id, running):
                        self._storage.set_trial_user_attr(trial._trial_id, _WORKER, worker)
                        return Slot.from_dict(trial.user_attrs[_SLOT]), trial._trial_id
        return None

    def _run(self, slot: Slot, trial_id: int, run: Callable[[Slot, Any], Result]) -> None:
        """Run a training and record its result; if it is interrupted, another trial takes over."""
        # The suggestions depend on the seed alone, not on what was finished before.
        self._study.sampler = optuna.samplers.RandomSampler(slot.seed)
        state = optuna.trial.TrialState
        try:
            with self._heartbeat(trial_id):
                result = run(slot, optuna.trial.Trial(self._study, trial_id))
        except BaseException:
            self._storage.set_trial_state_values(trial_id, state.FAIL)
            raise
        values = {"score": result.score, "met": result.met, "values": dict(result.values)}
        self._storage.set_trial_user_attr(trial_id, _RESULT, values)
        self._storage.set_trial_state_values(trial_id, state.COMPLETE, [result.score])

    @contextlib.contextmanager
    def _alive(self) -> Iterator[str]:
        """Hold a lock as long as this process lives, and return its name."""
        worker = f"{socket.gethostname()}-{uuid.uuid4().hex}"
        lock = filelock.FileLock(self._workers / f"{worker}.lock")
        with lock:
            yield worker
        Path(lock.lock_file).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _heartbeat(self, trial_id: int) -> Iterator[None]:
        """Give signs of life, for processes on other machines."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(_HEARTBEAT):
                # A full or busy database must not end the training.
                with contextlib.suppress(Exception):
                    self._storage.set_trial_user_attr(trial_id, _BEAT, time.time())

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _fail_dead(self) -> bool:
        """Give up the trials of dead processes; return whether there was one."""
        running = (optuna.trial.TrialState.RUNNING,)
        dead = [t for t in self._study.get_trials(False, running) if self._is_dead(t)]
        for trial in dead:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                self._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        return bool(dead)

    def _is_dead(self, trial: Any) -> bool:
        path = self._workers / f"{trial.user_attrs.get(_WORKER)}.lock"
        if path.exists():
            lock = filelock.FileLock(path)
            try:
                with lock.acquire(timeout=0):
                    return True
            except filelock.Timeout:
                return False
        beat, now = trial.user_attrs.get(_BEAT), time.monotonic()
        seen, since = self._watched.setdefault(trial._trial_id, (beat, now))
        if seen != beat:
            self._watched[trial._trial_id] = (beat, now)
            return False
        return now - since > _PATIENCE


def _result(trial: Any) -> Result | None:
    """Return the result of a finished trial."""
    if trial is None or trial.state != optuna.trial.TrialState.COMPLETE:
        return None
    return Result(Slot.from_dict(trial.user_attrs[_SLOT]), **trial.user_attrs[_RESULT])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from announcing what a search does anyway."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
