"""Running elsewhere: scripts for clusters, and compiling for machines one does not have."""
