"""The tf_keras engine of pruning, clustering and quantization-aware training."""
