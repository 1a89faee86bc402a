"""BERT in JAX and Flax: from raw text to pretrained embedding tables, and a look inside them.

What the package exports stands in `__init__.pyi`, for editors and type checkers and for the import
itself, which looks a name up when it is first used: whoever only tokenises waits for no jax.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
