"""Reading and writing genotypes, and errors that point at the place."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from nasbench_snas.errors import GenotypeError
from nasbench_snas.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.genotype_io import load_genotype, parse_genotype, to_darts_text
from nasbench_snas.genotype_zoo import zoo, zoo_entry, zoo_names

MILD_ALL = """
SNAS_mild_edge_all = Genotype(
  normal=[
    ('sep_conv_3x3', 0), ('sep_conv_3x3', 1),
    ('skip_connect', 0), ('dil_conv_3x3', 1), ('none', 2),
    ('skip_connect', 0), ('skip_connect', 1), ('none', 3), ('none', 2),
    ('skip_connect', 0), ('sep_conv_3x3', 1), ('none', 4), ('none', 3), ('none', 2)],
  normal_concat=range(2, 6),
  reduce=[
    ('max_pool_3x3', 0), ('max_pool_3x3', 1),
    ('none', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
    ('none', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('none', 3),
    ('max_pool_3x3', 0), ('dil_conv_5x5', 2), ('none', 1), ('none', 3), ('none', 4)],
  reduce_concat=list(range(2, 6)))
"""


def test_the_text_with_all_edges_gives_the_same_cells_as_the_zoo() -> None:
    genotype = parse_genotype(MILD_ALL)
    assert genotype.name == "SNAS_mild_edge_all"
    assert genotype == zoo("snas-mild")


def test_the_aggressive_text_with_two_pairs_a_node_drops_the_nodes_of_none() -> None:
    pairs = [("sep_conv_5x5", 0), ("none", 1), ("sep_conv_5x5", 0), ("none", 1)] + [
        ("none", 1),
        ("none", 0),
    ] * 2
    normal = to_darts_text(zoo("snas-aggressive")).split("reduce=")[0]
    text = f"{normal}reduce={pairs}, reduce_concat=range(2, 6))"
    genotype = parse_genotype(text)
    assert genotype == zoo("snas-aggressive")
    assert genotype.cells["reduce"].dropped_nodes == (4, 5)


@pytest.mark.parametrize("name", zoo_names())
def test_every_zoo_entry_survives_every_format(name: str, tmp_path: Path) -> None:
    genotype = zoo(name)
    assert load_genotype(genotype.to_json()) == genotype
    assert load_genotype(to_darts_text(genotype)) == genotype
    file = tmp_path / "genotype.json"
    file.write_text(genotype.to_json())
    assert load_genotype(tmp_path) == load_genotype(file) == load_genotype(str(file)) == genotype
    try:
        text = to_darts_text(genotype, all_edges=True)
    except GenotypeError as error:
        assert "edges join" in str(error)
    else:
        again = load_genotype(text)
        for kind, cell in genotype.cells.items():
            assert sorted(again.cells[kind].edges) == sorted(cell.edges)
            assert again.cells[kind].concat == cell.concat


def test_every_zoo_entry_states_source_note_and_reference() -> None:
    expected = {"snas-mild", "snas-moderate", "snas-aggressive", "darts-v1", "darts-v2", "enas"}
    expected |= {"nasnet-a", "nasnet-a-darts", "amoebanet-a", "pnas", "gdas"}
    assert set(zoo_names()) == expected
    for name in zoo_names():
        entry = zoo_entry(name)
        assert entry.genotype.name == name
        assert min(len(entry.source), len(entry.note), len(entry.reference)) > 5


def test_zoo_names_are_found_whatever_case_and_hyphens() -> None:
    assert load_genotype("DARTS_V2") == zoo("darts-v2")
    with pytest.raises(GenotypeError, match="Did you mean 'darts-v2'"):
        load_genotype("darts-v3")


def test_darts_fields_as_json_and_one_list_a_node_are_read() -> None:
    normal = [[["skip_connect", 0], ["skip_connect", 1]], [], [["sep_conv_5x5", 2]], []]
    fields = {"normal": normal, "normal_concat": [2, 4]}
    genotype = parse_genotype(json.dumps(fields))
    edges = (Edge("skip_connect", 0, 2), Edge("skip_connect", 1, 2), Edge("sep_conv_5x5", 2, 4))
    assert genotype.cells == {"normal": CellGenotype(2, 4, edges, (2, 4))}
    assert genotype.cells["normal"].dropped_nodes == (3, 5)


def test_a_node_with_three_edges_can_be_written_with_all_edges_only() -> None:
    edges = tuple(Edge("skip_connect", i, 3) for i in (0, 1)) + (Edge("conv_1x1", 2, 3),)
    genotype = Genotype({"normal": CellGenotype(2, 2, edges, (2, 3))})
    with pytest.raises(GenotypeError, match="node 3 has 3 edges"):
        to_darts_text(genotype)
    assert parse_genotype(to_darts_text(genotype, all_edges=True)) == genotype


GOOD = "Genotype(normal=[('skip_connect', 0), ('max_pool_3x3', 1)], normal_concat=[2])"
WRONG = [
    ("", "empty"),
    ("Genotype(normal=[('skip_connect', 0)", r"line 1, column \d+: not a genotype"),
    (GOOD.replace("skip", "skipp"), r"line 1, column 18: normal\[0\]: unknown operation"),
    (GOOD.replace("'max_pool_3x3', 1", "'max_pool_3x3', 2"), r"column 39: normal\[1\]: node 2 "),
    (GOOD.replace("[2]", "[7]"), r"column \d+: normal_concat: expected nodes between 0 and 2"),
    (GOOD.replace("[2]", "[]"), "normal_concat"),
    ("\n\nX = " + GOOD.replace("0)", "'0')"), r"line 3, column 22: normal\[0\]: expected a pair"),
    ("Genotype(reduce=[], reduce_concat=[2])", "no field 'normal'"),
    (GOOD.replace("[2]", "[i for i in range(9)]"), "expected names, numbers"),
    ("Genotype(normal=[('skip_connect', -1), ('skip_connect', 1)])", "expected names, numbers"),
    ("Genotype(normal=[('skip_connect', 0)])", "1 pairs"),
    ("Genotype(normal=3)", "expected a list"),
    ("[1, 2]", "not a|no genotype|expected a call"),
    ('{"cells": {"normal": {"num_inputs": 2}}}', r"cells\.normal: missing 'edges'"),
    ('{"cells": {"n": {"num_inputs": 2, "num_nodes": 1, "edges": [["x", 0, 2]]}}}', "cells.n"),
    ('{"cells": 3}', "genotype"),
    ('{"cells": {"normal": \n {]}}', "line 2, column 3: not JSON"),
    ('{"other": 1}', r"\['other'\]"),
    ('{"normal": [["skip_connect", 0], ["skipped", 1]]}', r"normal\[1\]: unknown operation"),
    ("[" * 5000, "nested|no genotype|not a genotype|expected"),
    ('{"a":' * 100000, "nested too deeply|not JSON"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_a_malformed_genotype_gets_an_error_that_points_at_the_place(
    text: str, message: str
) -> None:
    with pytest.raises(GenotypeError, match=message):
        parse_genotype(text)


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(normal=__import__('os').mkdir({path!r}))",
        "__import__('os').mkdir({path!r})",
        "Genotype(normal=[(open({path!r}, 'w'), 0)])",
        "(lambda: open({path!r}, 'w'))()",
        "Genotype(normal=range(2, open({path!r}, 'w')))",
        "Genotype(**dict(normal=open({path!r}, 'w')))",
    ],
)
def test_reading_a_genotype_never_executes_anything(text: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(GenotypeError):
        load_genotype(text.format(path=str(marker)))
    assert not marker.exists()


def test_an_enormous_range_is_refused_without_building_it() -> None:
    with pytest.raises(GenotypeError, match="expected names"):
        parse_genotype("Genotype(normal=[], normal_concat=range(0, 10**9))")
    with pytest.raises(GenotypeError, match="expected names"):
        parse_genotype("Genotype(normal=[], normal_concat=range(0, 1000000000))")


def test_errors_in_a_file_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cell.txt"
    file.write_text(GOOD.replace("skip", "skipp"))
    with pytest.raises(GenotypeError, match=r"cell\.txt: line 1, column 18"):
        load_genotype(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GenotypeError, match="cannot read"):
        load_genotype(file)
    file.write_text(GOOD)
    assert load_genotype(file).name == "cell"


def test_randomly_damaged_texts_raise_genotype_errors_only() -> None:
    rng = random.Random(0)
    sources = [MILD_ALL, zoo("nasnet-a").to_json(), to_darts_text(zoo("darts-v2"))]
    for _ in range(600):
        text = list(rng.choice(sources))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 3)] = rng.choice(["", "(", "]", "0", "'", "-", "{", "é"])
        try:
            parse_genotype("".join(text))
        except GenotypeError:
            pass
