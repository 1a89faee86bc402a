"""Analysis: looking into the embedding tables. Functions of arrays that return arrays."""
