"""Networks and data of the benchmark of quantized models and their files."""
