"""The architecture search: loop, optimisation levels, derivation and child validation."""
