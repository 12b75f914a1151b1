"""Makes ``equations.md`` from the markers in the code: ``python docs/equations.py [--premise]``.

Code says ``# Implements SNAS (5, 22).`` above a function or class, a test says
``@pytest.mark.equation(5, 22)``. ``--premise`` measures the table at the end again (a minute);
without it the table stays as it is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "equations.md"
CODE = ("nasbench_snas", "estimators", "spaces", "reports")
MARKER = re.compile(r"^ *# Implements SNAS \(([\d, ]+)\)\.$")

MEANING = {
    1: "a node is the sum of what the selected operations of its edges give",
    2: "the same with one-hot weights: $x_j = \\sum_{i<j} Z_{ij}^T O_{ij}(x_i)$",
    3: "the objective, an expected reward $E_{Z \\sim p_\\alpha}[R(Z)]$",
    4: "the reward is the loss: $E[R(Z)] = E[L_\\theta(Z)]$",
    5: "the concrete relaxation of $Z$, temperature $\\lambda$",
    6: "gradients of the surrogate loss by nodes, $\\theta$ and $\\alpha$",
    7: "the expected search gradient, written as a policy gradient",
    8: "the credit of an edge, $R_{ij} = -\\langle dL/dx_j, \\tilde O_{ij}(x_i) \\rangle$",
    9: "the objective with the resource constraint, $E[L + \\eta C]$",
    10: "the cost is linear in $Z$",
    11: "the expected cost as a sum over edges, and its policy gradient",
    12: "transitions of ENAS's decision process are deterministic",
    13: "the probability of a trajectory is the product of the policy's factors",
    14: "and so is that of the architecture, $p(\\tau) = p(Z)$",
    15: "each factor is the controller's output given earlier decisions",
    16: "the objective of Appendix B, equal to (3)",
    17: "with the loss as reward, equal to (4)",
    18: "the objective of the three-node cell, written out",
    19: "what DARTS minimises instead: expectations inside the nodes",
    20: "a node of the unit cell",
    21: "$\\partial x_j / \\partial \\theta$",
    22: "the concrete relaxation, as (5)",
    23: "$\\partial x_j / \\partial \\alpha$ by the chain rule",
    24: "the Jacobian of the relaxation, $(\\delta - Z) Z^k / (\\lambda \\alpha^k)$",
    25: "(24) put into (23)",
    26: "$\\partial x_m / \\partial x_j$",
    27: "the three gradients of (6)",
    28: "the derivation of (7)",
    29: "Taylor expansion of an output: credits and higher-order terms",
    30: "the credit of an input at a root point",
    31: "credits add up to the output, $f = \\sum_i x_i \\, \\partial f / \\partial x_i$",
    32: "a node's derivative integrates those of its successors",
    33: "a node's credit divided among the edges that point to it",
    34: "the same, weighed by the slope of the loss: (8)",
    35: "parameters of a convolution",
    36: "FLOPs of a convolution",
    37: "memory access of a convolution",
    38: "FLOPs of pooling",
    39: "FLOPs of a skip connection",
    40: "memory access of pooling and skip connection",
}
"""What each equation says, in our words."""


def in_code() -> Iterator[tuple[int, str]]:
    """Yield (number, place) of every marker in the code."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            lines = path.read_text(encoding="utf-8").splitlines()
            places = {node.lineno: name for node, name in _definitions(path)}
            for number, line in enumerate(lines, start=1):
                found = MARKER.match(line)
                if not found:
                    continue
                below = number + 1
                while lines[below - 1].lstrip().startswith(("@", "#")):
                    below += 1
                if below not in places:
                    raise SystemExit(f"{path}:{number}: no function or class below the marker.")
                name = f"`{places[below]}` ({path.relative_to(ROOT)})"
                for equation in found[1].split(","):
                    yield int(equation), name


def in_tests() -> Iterator[tuple[int, str]]:
    """Yield (number, place) of every mark on a test."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node, name in _definitions(path):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.equation":
                    for argument in mark.args:
                        yield int(ast.literal_eval(argument)), f"{path.relative_to(ROOT)}::{name}"


def _definitions(
    path: Path,
) -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, str]]:
    def walk(body: list[ast.stmt], prefix: str) -> Iterator[tuple[ast.FunctionDef, str]]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node, prefix + node.name
                yield from walk(node.body, f"{prefix}{node.name}.")

    yield from walk(ast.parse(path.read_text(encoding="utf-8")).body, "")


def table() -> str:
    """Return the table equation → code → test."""
    code, tests = list(in_code()), list(in_tests())
    rows = ["| eq. | what it says | code | tests |", "|---|---|---|---|"]
    for number, meaning in MEANING.items():
        where = "<br>".join(place for n, place in code if n == number)
        held = "<br>".join(f"`{place}`" for n, place in tests if n == number)
        rows.append(f"| ({number}) | {meaning} | {where} | {held} |")
    return "\n".join(rows)


def premise() -> str:
    """Return the table of what eq. (31) leaves unexplained, measured."""
    import torch

    from nasbench_snas.architecture.distributions import Categorical
    from nasbench_snas.seeding import stream
    from nasbench_snas.spaces.darts_cnn import DartsCNN
    from nasbench_snas.spaces.snas_unit import SnasUnit
    from nasbench_snas.study.decomposition import stripped, unexplained
    from nasbench_snas.supernet.reference import ReferenceParent

    rows = [
        "| parent, weights | no bias, no norm | biases only | norms, evaluated | norms, training |",
        "|---|---|---|---|---|",
    ]
    for name, family in (
        ("snas-unit", SnasUnit()),
        ("darts-cnn, 3 cells, 4 channels", DartsCNN(cells=3, channels=4)),
    ):
        for kind in ("soft", "one-hot"):
            cells: list[list[float]] = [[] for _ in range(4)]
            for seed in range(5):
                space = family.build(1, 10, 8)
                parent = ReferenceParent(space, stream(seed, "theta")).double()
                dist = Categorical(torch.zeros((space.num_edges, space.num_operations)).double())
                noise = dist.noise(1, 1, stream(seed, "noise"))
                z = dist.hard(noise)[0] if kind == "one-hot" else dist.probs.detach()
                images = torch.rand((16, 1, 8, 8), generator=stream(seed, "images")).double()
                with torch.no_grad():
                    for _ in range(3):
                        parent(images, z)
                for column, (keep, train) in zip(
                    cells,
                    (("homogeneous", True), ("biases", True), ("norms", False), ("norms", True)),
                    strict=True,
                ):
                    network = stripped(parent, keep).train(train)  # type: ignore[arg-type]
                    rest = [
                        unexplained(lambda x, n=network, c=c, z=z: n(x, z)[0, :, c], images)
                        for c in (0, 5)
                    ]
                    column.append(float(torch.stack(rest).mean()))
            medians = [sorted(column)[2] for column in cells]
            rows.append(f"| {name}, {kind} | " + " | ".join(f"{m:.2g}" for m in medians) + " |")
    return "\n".join(rows)


HEAD = """# Equations

Every numbered equation of the SNAS paper (arXiv:1812.09926), the code that is it, and the tests
that hold the code to it. This page is made by `python docs/equations.py` from the markers `#
Implements SNAS (…).` and `@pytest.mark.equation(…)`; `tests/project/test_equations.py` finds a
gap.

"""
TAIL = """
## The premise of the credit

Eq. (31) is what makes eq. (8) a share of the output. It holds for networks without biases and
batch norms, which are homogeneous of degree one in their input, and for no network of the search.
The table shows what the credits of the pixels leave unexplained, `|f - sum_i x_i df/dx_i| / |f|`
(`nasbench_snas.study.decomposition.unexplained`): parents at their initial weights, running
statistics of three passes, 16 random images of 8x8 pixels, the logits of two classes, float64,
median of 5 seeds. `python docs/equations.py --premise` measures it again. With batch statistics
the output does not change when the images are scaled, and the credits of the pixels add up to
nothing.

"""


def page(measured: str) -> str:
    """Return the whole page with the table of the premise as given."""
    return HEAD + table() + "\n" + TAIL + measured.strip() + "\n"


def measured() -> str:
    """Return the table of the premise that the page holds."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index("| parent, weights |") :]


if __name__ == "__main__":
    PAGE.write_text(page(premise() if "--premise" in sys.argv else measured()), encoding="utf-8")
