"""What a run may be told: validated settings, presets, and how both are read."""
