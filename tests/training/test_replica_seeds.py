import numpy as np
from keras import ops

from keras_kd.training.replica_seeds import ReplicaSeeds


def test_replicas_have_different_seeds_and_share_the_state():
    found = []
    for replica in (0, 1, ops.convert_to_tensor(1), 2):
        seeds = ReplicaSeeds(5)
        seeds.replica = replica
        found.append([tuple(np.asarray(seeds.next())) for _ in range(2)])
    assert found[1] == found[2]
    assert len({seed for pair in found for seed in pair}) == 6
