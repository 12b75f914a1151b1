"""The presets as TOML files: what a run starts from."""
