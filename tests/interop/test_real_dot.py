"""``.dot`` drawings in pydot and networkx: every published cell comes back edge by edge."""

from collections import Counter

import pytest
from relied import relied_on

from nasbench_snas.architecture.genotype import CellGenotype, Edge
from nasbench_snas.architecture.zoo import zoo, zoo_names
from nasbench_snas.reports.draw.cell import dot_text

networkx = pytest.importorskip("networkx")
pydot = pytest.importorskip("pydot")
pytestmark = pytest.mark.tools

CELLS = {f"{name} {kind}": cell for name in zoo_names() for kind, cell in zoo(name).cells.items()}
CELLS["two edges between two nodes"] = CellGenotype(
    1, 1, (Edge("skip_connect", 0, 1), Edge("max_pool_3x3", 0, 1)), (1,)
)


def read(text: str) -> "networkx.MultiDiGraph":
    """Return the drawing as a graph; networkx leaves the quotes of attributes in place."""
    (drawing,) = pydot.graph_from_dot_data(text)
    return networkx.nx_pydot.from_pydot(drawing)


@pytest.mark.parametrize("name", CELLS)
def test_the_edges_of_a_drawing_are_those_of_the_cell(name):
    cell = CELLS[name]
    graph = read(dot_text(cell, name))
    found = Counter(
        (source, target, data["label"].strip('"'))
        for source, target, data in graph.edges(data=True)
        if "label" in data
    )
    expected = Counter((f"n{e.source}", f"n{e.target}", e.operation) for e in cell.edges)
    what = "edges of a digraph without clusters are all read, several between two nodes included"
    assert found == expected, relied_on("networkx", what)
    outputs = [source for source, target in graph.edges() if target == "out"]
    assert Counter(outputs) == Counter(f"n{node}" for node in cell.concat)


def test_the_nodes_of_a_drawing_are_those_of_the_cell_and_its_output():
    cell = zoo("snas-aggressive").cells["reduce"]
    graph = read(dot_text(cell, 'quotes " and \\ in a title'))
    inner = [f"n{node}" for node in range(cell.num_inputs + cell.num_nodes)]
    assert {node.strip('"') for node in graph.nodes} == {*inner, "out"}
    assert networkx.is_directed_acyclic_graph(graph)


def test_the_layout_program_that_networkx_calls_needs_no_escaping_of_ours():
    """Labels such as c_{k-1} hold characters that mean something in record shapes."""
    text = dot_text(zoo("darts-v2").cells["normal"])
    (drawing,) = pydot.graph_from_dot_data(text)
    labels = {node.get_label() for node in drawing.get_nodes() if node.get_label()}
    assert {'"c_{k-2}"', '"c_{k-1}"', '"c_{k}"'} <= labels, relied_on("pydot", "labels are kept")
