"""Distributed training, interrupted runs and damaged inputs."""
