"""Results at the papers' scale on one GPU, on the JAX backend.

`python -m benchmarks.gpu` trains pairs of CIFAR-100 networks and measures the speed of a step; it
stops after a given number of minutes, and another call continues. `python -m benchmarks.gpu.pack`
puts all that it needs into one folder, for a machine without a network.
"""
