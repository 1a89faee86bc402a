"""Model: the three embeddings, the encoder, the pretraining heads."""
