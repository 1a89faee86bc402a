"""BERT in JAX and Flax: from raw text to pretrained embedding tables, and a look inside them."""
