"""Exact and sampled gradients of the expected loss, and the study of what estimators do."""
