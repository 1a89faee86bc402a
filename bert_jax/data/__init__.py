"""Data: raw text to a corpus, a corpus to NSP instances, instances to masked batches."""
