"""What only a GPU can show, in one command: equality, determinism, resuming, times."""

__all__ = ["record", "run"]
