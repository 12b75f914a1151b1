"""What is known of a whole space: tables of trained architectures and the regret of a search."""

__all__ = [
    "classes",
    "comparison",
    "errata",
    "keys",
    "known",
    "landscape",
    "nats",
    "own",
    "published",
    "table",
    "unit",
]
