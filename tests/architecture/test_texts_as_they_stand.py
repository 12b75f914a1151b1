"""Genotypes in the texts of real files: nearly all are read, and none is read wrong."""

import io
import random
import sys
import time

import pytest
from texts_as_they_stand import BODIES, DARTS_V2, LAYOUTS, PC_DARTS, STRING

from nasbench_snas.architecture.reading.scan import scan
from nasbench_snas.architecture.text import load_genotype, parse_genotype
from nasbench_snas.errors import GenotypeError

TEXTS = {(b, t): layout(text) for b, (text, _) in BODIES.items() for t, layout in LAYOUTS.items()}


def test_of_real_texts_at_least_95_percent_are_read_and_none_wrong():
    wrong, refused = [], {}
    for (body, layout), text in TEXTS.items():
        try:
            found = parse_genotype(text)
        except GenotypeError as error:
            refused[body, layout] = str(error).splitlines()[0]
            continue
        if dict(found.cells) != BODIES[body][1]:
            wrong.append((body, layout))
    assert not wrong
    listed = "\n".join(f"{where}: {why}" for where, why in refused.items())
    assert len(TEXTS) >= 12 * 12
    assert len(refused) <= 0.05 * len(TEXTS), f"{len(refused)} of {len(TEXTS)} refused:\n{listed}"
