"""Training: state, optimisers, the step, the loop, checkpoints."""
