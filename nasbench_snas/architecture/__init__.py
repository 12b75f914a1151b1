"""What an architecture is: spaces, operations, genotypes, distributions to draw from."""

__all__ = [
    "candidates",
    "controller",
    "distributions",
    "genotype",
    "known",
    "nasbench201",
    "operations",
    "schedules",
    "space",
    "text",
    "zoo",
]
