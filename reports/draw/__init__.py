"""Pictures of cells."""
