"""Labels in every layout of the field -> one manifest (``training.manifest``)."""
