"""Built-in objective transformers: what the field composes with estimators, one algorithm a file.

Each is found by its file, as estimators are; nothing imports one by name.
"""
