"""The embedding tables as things of their own: kept, read, moved to another vocabulary, resized."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
