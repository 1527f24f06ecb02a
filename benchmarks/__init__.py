"""Measurements behind the claims of keras_kd.

Run them with `python -m benchmarks run NAME`; write the tables of the documentation with
`python -m benchmarks report`. Each benchmark in `registry.py` is a module with

- `plan(done, seeds, quick)`: list the jobs `(cell, seed)` known so far. It is called again after
  each round, so a later stage may depend on an earlier one, for example a grid on the validation
  split and then the best settings on the test split. A cell is a dict of plain values.
- `run(cell, seed, quick)`: run one job and return a dict of numbers.
- `report(done)`: return Markdown for the documentation.
- optionally `chart(done, path)`: draw docs/images/NAME.svg.
- optionally `ALONE = True`: run one job at a time, for timings.
"""
