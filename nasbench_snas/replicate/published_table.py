"""What the NAS-Bench-201 paper counts of its own space, counted again from the space."""

from __future__ import annotations

import torch

from nasbench_snas.architecture.nasbench201 import EDGES, NAMES
from nasbench_snas.cost.network import outside_parts
from nasbench_snas.cost.table import CRITERIA, cost_table
from nasbench_snas.oracle.exact import architectures
from nasbench_snas.registry import Registry
from nasbench_snas.replicate.findings import Experiment, Finding, judge
from nasbench_snas.settings.parameters import create
from nasbench_snas.truth.classes import classes
from nasbench_snas.truth.errata import count
from nasbench_snas.truth.published import published

_NONE, _SKIP = NAMES.index("none"), NAMES.index("skip_connect")


def string_of(choice: list[int], zero: bool) -> str:
    """Return the paper's string of a cell: equal strings are its isomorphic cells.

    A node is the sorted list of its inputs, a skip is its source's own string, and every other
    operation is applied to the string of its source.

    Args:
        choice: Operation of each edge, in the order of the benchmark's string.
        zero: Whether a zero operation, and whatever is applied to a node that got nothing, vanish
            into one symbol (a sum with that symbol keeps it).
    """
    strings = {0: "0"}
    for node in (1, 2, 3):
        terms = []
        for (source, target), operation in zip(EDGES, choice, strict=True):
            if target != node:
                continue
            inner = strings[source]
            if zero and (operation == _NONE or inner == "#"):
                terms.append("#")
            elif operation == _SKIP:
                terms.append(inner)
            else:
                terms.append(f"({inner}){operation}")
        strings[node] = "+".join(sorted(terms))
    return strings[3]


def isomorphic_cells(full: bool) -> list[Finding]:
    """Dong and Yang 2020, section 2.3: how many cells are left when isomorphic ones are merged."""
    table = architectures(len(EDGES), len(NAMES)).tolist()
    rows = []
    for zero, printed in ((True, "6466"), (False, "12751")):
        found = str(len({string_of(choice, zero) for choice in table}))
        words = "with" if zero else "without"
        name = f"different strings, {words} the zero operation considered"
        rows.append(Finding(name, found, printed, judge(found == printed)))
    for shift, words in ((False, "without"), (True, "with")):
        number = len(set(classes(shift=shift)))
        scaled = len(set(classes(shift=shift, scaled=True)))
        rows.append(
            Finding(
                f"different functions, {words} learned shifts of batch norms",
                f"{number} ({scaled} up to scales)",
                "the string is not one per function",
                judge(number < 6466),
            )
        )
    return rows


def parameters_of_all(full: bool) -> list[Finding]:
    """Dong and Yang 2020: parameters of all 15,625 networks, by construction."""
    family = create(Registry().space("nasbench201"), {"affine": True}, "space")
    space = family.build(3, 10, 32)
    column = cost_table(space)[..., CRITERIA.index("parameters")].long()
    outside = sum(cost.parameters for cost in outside_parts(space).values())
    chosen = architectures(space.num_edges, space.num_operations)
    sizes = outside + column[torch.arange(space.num_edges), chosen].sum(dim=1)
    found = [str(len(sizes.unique())), f"{int(sizes.min())} to {int(sizes.max())}"]
    odd = str(count(published()).architectures)
    return [
        Finding("different numbers of parameters", found[0], "28", judge(found[0] == "28")),
        Finding(
            "smallest and largest",
            found[1],
            "73306 to 1531546",
            judge(found[1] == "73306 to 1531546"),
        ),
        Finding(
            "architectures with a record that states another network's parameters",
            odd,
            "204 (in the published files)",
            judge(odd == "204"),
        ),
    ]


EXPERIMENTS = (
    Experiment(
        "nasbench201-isomorphic",
        "Dong and Yang 2020, arXiv:2001.00326, section 2.3",
        "All 15,625 cells of NAS-Bench-201, named by the paper's string, with and without zero.",
        "Both counts agree to the digit; different functions are fewer than different strings.",
        "None. What makes functions equal is in `nasbench_snas.truth.classes`.",
        isomorphic_cells,
    ),
    Experiment(
        "nasbench201-parameters",
        "Dong and Yang 2020, arXiv:2001.00326, NAS-Bench-201",
        "Parameters of all networks with C = 16, N = 5 and 10 classes.",
        "Number of sizes and the two extremes agree to the digit, and so does the number of "
        "architectures whose published records are another network's.",
        "None.",
        parameters_of_all,
    ),
)
