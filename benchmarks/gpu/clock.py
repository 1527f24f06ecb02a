"""The time that the runs have."""

import time


class Clock:
    """Seconds since the start and until the end.

    Args:
        minutes: Length of this call.
        total: Minutes of all calls on this machine together, for the choice of the epochs.
    """

    def __init__(self, minutes, total):
        self.start, self.minutes, self.total = time.perf_counter(), minutes, total

    def elapsed(self):
        return time.perf_counter() - self.start

    def left(self):
        return 60 * self.minutes - self.elapsed()

    def total_left(self):
        return 60 * self.total - self.elapsed()

    def report(self, text):
        """Print a line with the seconds since the start."""
        print(f"[{self.elapsed():.0f} s] {text}", flush=True)
