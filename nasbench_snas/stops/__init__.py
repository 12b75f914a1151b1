"""Built-in early stops of a search, one algorithm a file.

Each is found by its file, as estimators are; nothing imports one by name.
"""
