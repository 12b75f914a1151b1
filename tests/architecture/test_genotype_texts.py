"""Reading and writing genotypes, and errors that point at the place."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.architecture.text import load_genotype, parse_genotype, to_darts_text
from nasbench_snas.architecture.zoo import zoo, zoo_entry, zoo_names
from nasbench_snas.bibliography import bibliography
from nasbench_snas.errors import GenotypeError

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
    expected |= {"pc-darts", "pc-darts-imagenet", "p-darts", "drnas", "drnas-imagenet"}
    expected |= {f"fairdarts-{letter}" for letter in "abcd"} | {"sgas-cri1", "sgas-cri2"}
    expected |= {"sdarts-rs", "sdarts-adv", "r-darts-s1-dp", "r-darts-s2-dp"}
    assert set(zoo_names()) == expected
    known = bibliography()
    for name in zoo_names():
        entry = zoo_entry(name)
        assert entry.genotype.name == name
        assert min(len(entry.source), len(entry.note)) > 5 and entry.reference in known


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
OURS = (
    '{"cells": {"n": {"num_inputs": 2, "num_nodes": 1, '
    '"edges": [["skip_connect", %s, 2]], "concat": %s}}}'
)
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
    ("Genotype(normal=[('skip_connect', -1), ('skip_connect', 1)])", "normal_concat.*missing"),
    (GOOD.replace("1)", "-1)"), r"column 39: normal\[1\]: node 2 cannot take input from node -1"),
    ("Genotype(normal=[('skip_connect', 0)], normal_concat=[2])", "1 pairs"),
    ("Genotype(normal=3, normal_concat=[2])", "expected a list"),
    (GOOD.replace(", normal_concat=[2]", ""), r"line 1, column 17: normal: normal_concat.*missing"),
    (GOOD.replace("[2])", "[2], extra=3)"), r"column \d+: field 'extra' is not possible"),
    (GOOD.replace("[2]", "[2, 2]"), r"line 1, column 17: normal: .*names a node twice"),
    (GOOD.replace("[2]", "'2'"), r"column 75: normal_concat: expected a list of nodes"),
    (GOOD.replace("skip_connect", "skip_cönnect\u202e"), r"column 18: normal\[0\]: unknown"),
    (GOOD + " " * 2**25, "too long"),
    ("x" * 9000, "no genotype in the text"),
    (OURS % ("0.5", "[2]"), r"cells\.n\.edges\[0\]: expected a whole number, got 0\.5"),
    (OURS % ('"0"', "[2]"), r"cells\.n\.edges\[0\]: expected a whole number, got '0'"),
    (OURS % ("true", "[2]"), r"cells\.n\.edges\[0\]: expected a whole number"),
    (OURS % ("NaN", "[2]"), r"cells\.n\.edges\[0\]: expected a whole number"),
    (OURS % ("0", "[2.0]"), r"cells\.n\.concat: expected a whole number"),
    (OURS % ("0", "[2, 2]"), r"cells\.n: concat \(2, 2\) names a node twice"),
    ((OURS % ("0", "[2]")).replace('"num_nodes": 1', '"num_nodes": 1000000000'), "at most 1000"),
    ((OURS % ("0", "[2]")).replace('"num_inputs": 2', '"num_inputs": 0'), "0 inputs"),
    (OURS % ("1" + "0" * 5000, "[2]"), "not a genotype|edges"),
    ('{"cells": {}}', "there is no cell"),
    ('{"cells": {"n": 1, "n": 2}}', "'n' appears twice"),
    ("[1, 2]", "not a|no genotype|expected a call"),
    ('{"cells": {"normal": {"num_inputs": 2}}}', r"cells\.normal: missing 'edges'"),
    ('{"cells": {"n": {"num_inputs": 2, "num_nodes": 1, "edges": [["x", 0, 2]]}}}', "cells.n"),
    ('{"cells": 3}', "genotype"),
    ('{"cells": {"normal": \n {]}}', "line 2, column 3: not JSON"),
    ('{"other": 1}', r"\['other'\]"),
    (
        '{"normal": [["skip_connect", 0], ["skipped", 1]], "normal_concat": [2]}',
        r"normal\[1\]: unknown operation",
    ),
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
    with pytest.raises(GenotypeError, match="expected ',' or"):
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


def test_two_pairs_a_node_that_look_like_every_edge_are_told_apart_by_the_concat() -> None:
    sources = [0, 1, 0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    edges = tuple(Edge("skip_connect", source, 2 + i // 2) for i, source in enumerate(sources))
    seven = Genotype({"normal": CellGenotype(2, 7, edges, tuple(range(2, 9)))})
    assert parse_genotype(to_darts_text(seven)) == seven
    four = parse_genotype(to_darts_text(seven).replace("2, 3, 4, 5, 6, 7, 8", "2, 3, 4, 5"))
    assert four.cells["normal"].num_nodes == 4


KEPT = [name for name in OPERATIONS if name != "none"]


@st.composite
def cells(draw: st.DrawFn, most_inputs: int = 3, most_in: int | None = None) -> CellGenotype:
    """Any cell: every in-degree, doubled edges, dropped nodes, inputs in the concatenation."""
    inputs = draw(st.integers(1, most_inputs))
    nodes = draw(st.integers(1, 9))
    edges = []
    for target in range(inputs, inputs + nodes):
        pair = st.tuples(st.sampled_from(KEPT), st.integers(0, target - 1))
        found = draw(st.lists(pair, max_size=5 if most_in is None else most_in))
        edges += [Edge(name, source, target) for name, source in found]
    concat = st.lists(st.integers(0, inputs + nodes - 1), min_size=1, unique=True)
    return CellGenotype(inputs, nodes, tuple(edges), tuple(draw(concat)))


@settings(max_examples=40)
@given(st.dictionaries(st.text(), cells(), min_size=1, max_size=3), st.text())
def test_our_format_gives_any_genotype_back(found: dict[str, CellGenotype], name: str) -> None:
    genotype = Genotype(found, name)
    again = parse_genotype(genotype.to_json())
    assert again == genotype and again.name == name


@settings(max_examples=60)
@given(cells(2, 2), cells(2, 2))
def test_the_darts_text_gives_any_cell_back_that_it_can_express(
    normal: CellGenotype, reduce: CellGenotype
) -> None:
    genotype = Genotype({"normal": normal, "reduce": reduce})
    try:
        texts = [to_darts_text(genotype)]
    except GenotypeError as error:
        assert 1 in (normal.num_inputs, reduce.num_inputs), error
        return
    try:
        texts.append(to_darts_text(genotype, all_edges=True))
    except GenotypeError as error:
        assert "edges join" in str(error)
    for text in texts:
        for kind, cell in parse_genotype(text).cells.items():
            own = genotype.cells[kind]
            assert sorted(cell.edges) == sorted(own.edges)
            assert (cell.num_nodes, cell.concat) == (own.num_nodes, own.concat)


@given(st.text(max_size=200))
def test_any_text_is_a_genotype_or_a_genotype_error(text: str) -> None:
    assume(text.strip() != "-")  # standard input
    for written in (text, f"Genotype({text})", f"{{{text}}}"):
        with contextlib.suppress(GenotypeError):
            load_genotype(written)


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
