"""Run benchmarks, store their results and write the tables of the documentation."""
