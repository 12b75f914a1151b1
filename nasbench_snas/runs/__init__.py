"""Run folders: what stands in them, how a job works in one and continues, how many are read."""
