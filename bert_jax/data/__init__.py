"""Data: raw text to a corpus, a corpus to NSP instances, instances to masked batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
