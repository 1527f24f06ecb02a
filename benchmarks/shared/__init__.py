"""Data, models and processes that several benchmarks use."""
