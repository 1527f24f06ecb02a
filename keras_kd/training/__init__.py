"""Parts of a training step: labels, masks, checks, distribution, hyperparameters."""
