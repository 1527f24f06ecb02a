"""What keras_kd claims, measured: `python -m benchmarks run NAME`, `python -m benchmarks report`.

Each benchmark is one module with

- `plan(done, seeds, quick)`: the jobs `(cell, seed)` known so far; it is asked again after each
  round, so that a later stage may depend on an earlier one (a grid on the validation split first,
  then the chosen settings on the test split). A cell is a dict of plain values.
- `run(cell, seed, quick)`: one job, to a dict of numbers.
- `report(done)`: the Markdown that goes into the documentation.
"""
