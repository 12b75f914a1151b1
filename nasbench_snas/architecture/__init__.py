"""What an architecture is: spaces, operations, genotypes, distributions to draw from."""
