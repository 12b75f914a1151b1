"""Finds plug-ins of every kind by name; lists them without importing them.

Lookup order: :func:`register`, ``--plugin``, ``NASBENCH_PLUGINS``, entry points (groups
``nasbench_snas.estimators``, ``nasbench_snas.spaces``, …), built-ins. What a listing shows is read
from the source text: class attributes that are literals. A broken plug-in is reported where it is
listed or used, and breaks nothing else; a name that two places define is an error where it is used.
"""

from nasbench_snas.registry.kinds import BUILT_IN, INFO, KINDS, PLURALS, Entry, Kind
from nasbench_snas.registry.registry import Registry, register
from nasbench_snas.registry.source import has_module

__all__ = [
    "BUILT_IN",
    "INFO",
    "KINDS",
    "PLURALS",
    "Entry",
    "Kind",
    "Registry",
    "has_module",
    "register",
]
