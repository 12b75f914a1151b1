"""What is known of a whole space: tables of trained architectures and the regret of a search."""

__all__ = [
    "errata",
    "keys",
    "own",
    "published",
    "table",
]
