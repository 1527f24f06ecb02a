"""tf_keras engine for pruning, clustering, and quantization-aware training."""
