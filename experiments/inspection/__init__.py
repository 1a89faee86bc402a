"""The parts of `experiments.inspect_embeddings`."""
