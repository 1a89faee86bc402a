"""An inspection: what a checkpoint's tables say, as numbers and as one page."""
