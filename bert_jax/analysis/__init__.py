"""Analysis: looking into the embedding tables. Functions of arrays that return arrays."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
