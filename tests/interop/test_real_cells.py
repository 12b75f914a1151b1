"""Cells in other libraries: strings of nats_bench, NNI's stored cell, DARTS's text."""

import ast
import itertools
from collections import namedtuple
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
from relied import relied_on

from nasbench_snas.architecture.text import parse_genotype, to_darts_text
from nasbench_snas.architecture.zoo import zoo, zoo_names
from nasbench_snas.spaces.nasbench201 import architecture_string, parse_architecture

pytestmark = pytest.mark.tools

THEIR_NAMES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SLOTS = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


def strings(number):
    """Return random architectures of NAS-Bench-201."""
    draws = np.random.default_rng(0).integers(len(THEIR_NAMES), size=(number, 6))
    return [SLOTS.format(*(THEIR_NAMES[index] for index in row)) for row in draws]


def test_nats_bench_reads_our_strings_as_the_same_operations_on_the_same_edges():
    structures = pytest.importorskip("nats_bench.genotype_utils")
    for text in strings(300):
        genotype = parse_architecture(text)
        theirs = structures.topology_str2structure(architecture_string(genotype))
        assert theirs.tostr() == text, relied_on("nats_bench", "tostr() undoes the parser")
        found = {
            (name, source, target)
            for target, node in enumerate(theirs.nodes, start=1)
            for name, source in node
            if name != "none"
        }
        ours = {(e.operation, e.source, e.target) for e in genotype.cells["cell"].edges}
        rename = {"nor_conv_1x1": "conv_1x1", "nor_conv_3x3": "conv_3x3"}
        assert {(rename.get(name, name), *edge) for name, *edge in found} == {
            (name.removeprefix("nor_"), *edge) for name, *edge in ours
        }


def stored_cells():
    """Return NNI's stored DARTS cell, read from its source: its import needs much else."""
    try:
        files = distribution("nni").files or []
    except PackageNotFoundError:
        pytest.skip("nni is not installed")
    (source,) = [file for file in files if str(file) == "nni/nas/hub/pytorch/nasnet.py"]
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict) and node.keys:
            try:
                found = ast.literal_eval(node)
            except ValueError:
                continue
            if "normal/op_2_0" in found and found["reduce/op_2_0"] == "max_pool_3x3":
                return found
    raise AssertionError(relied_on("nni", "the DARTS cell is stored as KIND/op_NODE_INPUT"))


def test_the_darts_cell_of_nni_is_ours():
    stored, ours = stored_cells(), zoo("darts-v2")
    for kind, cell in ours.cells.items():
        edges = {
            (stored[f"{kind}/op_{node}_{place}"], stored[f"{kind}/input_{node}_{place}"][0], node)
            for node, place in itertools.product(range(2, 6), range(2))
        }
        what = f"its {kind} cell is that of DARTS (second order)"
        assert edges == {(e.operation, e.source, e.target) for e in cell.edges}, relied_on(
            "nni", what
        )


Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
"""The form of DARTS's own ``genotypes.py``."""


@pytest.mark.parametrize("name", zoo_names())
def test_the_darts_text_evaluates_to_the_namedtuple_of_darts_and_comes_back(name):
    text = to_darts_text(zoo(name), all_edges=False) if _two_each(name) else None
    if text is None:
        text = to_darts_text(zoo(name), all_edges=True)
    expression = text.partition("=")[2] if "=" in text.partition("(")[0] else text
    theirs = eval(expression, {"Genotype": Genotype, "range": range})
    for kind in ("normal", "reduce"):
        pairs = getattr(theirs, kind)
        assert all(isinstance(name, str) and isinstance(node, int) for name, node in pairs)
        assert list(getattr(theirs, f"{kind}_concat")) == list(zoo(name).cells[kind].concat)
    back = parse_genotype(text)
    for kind, cell in zoo(name).cells.items():
        assert sorted(back.cells[kind].edges) == sorted(cell.edges)


def _two_each(name):
    """Whether every node of the cells has two inputs, as DARTS's short form wants it."""
    for cell in zoo(name).cells.values():
        targets = [edge.target for edge in cell.edges]
        nodes = range(cell.num_inputs, cell.num_inputs + cell.num_nodes)
        if any(targets.count(node) != 2 for node in nodes):
            return False
    return True
