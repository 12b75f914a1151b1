"""Genotypes as tools print them, and the files in which people keep them.

Bodies are published cells in the form of each tool, with the edges counted from their lists by this
file's own few lines; layouts put a body into a file as a logger, a module or a table would.
"""

import csv
import io
import json

from nasbench_snas.architecture.genotype import CellGenotype, Edge

DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
PC_DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 0), "
    "('dil_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1), ('avg_pool_3x3', 0), "
    "('dil_conv_3x3', 1)], normal_concat=range(2, 6), reduce=[('sep_conv_5x5', 1), "
    "('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_5x5', 2), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('sep_conv_3x3', 2)], reduce_concat=range(2, 6))"
)
NASNET = (
    "Genotype(normal=[('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_5x5', 0), "
    "('sep_conv_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0), "
    "('avg_pool_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 1)], "
    "normal_concat=[2, 3, 4, 5, 6], reduce=[('sep_conv_5x5', 1), ('sep_conv_7x7', 0), "
    "('max_pool_3x3', 1), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1), ('sep_conv_5x5', 0), "
    "('skip_connect', 3), ('avg_pool_3x3', 2), ('sep_conv_3x3', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[4, 5, 6])"
)
GDAS_PAIRS = {
    "normal": [
        [("skip_connect", 0, 0.13017432391643524), ("skip_connect", 1, 0.12947972118854523)],
        [("skip_connect", 0, 0.13062666356563568), ("sep_conv_5x5", 2, 0.12980839610099792)],
        [("sep_conv_3x3", 3, 0.12923765182495117), ("skip_connect", 0, 0.12901571393013)],
        [("sep_conv_5x5", 4, 0.12938997149467468), ("sep_conv_3x3", 3, 0.1289220005273819)],
    ],
    "reduce": [
        [("sep_conv_5x5", 0, 0.12862831354141235), ("sep_conv_3x3", 1, 0.12783904373645782)],
        [("sep_conv_5x5", 2, 0.12725995481014252), ("sep_conv_5x5", 1, 0.12705285668373108)],
        [("dil_conv_5x5", 2, 0.12797553837299347), ("sep_conv_3x3", 1, 0.12737272679805756)],
        [("sep_conv_5x5", 0, 0.12833961844444275), ("sep_conv_5x5", 1, 0.12758426368236542)],
    ],
}
STRING = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+"
STRING += "|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"


def _plain(text):
    """Return the fields of a body by evaluating it; bodies of this file only."""
    return eval(text, {"Genotype": dict, "range": range})


def _cells(pairs, concat):
    """Return the expected cells: two pairs for each node, in order, as DARTS defines it."""
    cells = {}
    for kind, steps in pairs.items():
        edges = tuple(
            Edge(step[0], step[1], 2 + index // 2)
            for index, step in enumerate(steps)
            if step[0] != "none"
        )
        cells[kind] = CellGenotype(2, len(steps) // 2, edges, tuple(concat[kind]))
    return cells


def _of(text):
    fields = _plain(text)
    kinds = ("normal", "reduce")
    return _cells({k: fields[k] for k in kinds}, {k: fields[f"{k}_concat"] for k in kinds})


def _gdas(wrap):
    flat = {kind: [s for node in nodes for s in node] for kind, nodes in GDAS_PAIRS.items()}
    cells = _cells(flat, dict.fromkeys(flat, (2, 3, 4, 5)))
    nodes = {kind: [tuple(node) for node in found] for kind, found in GDAS_PAIRS.items()}
    return wrap(nodes), cells


def _weights(nodes):
    return (
        f"Genotype(normal={nodes['normal']}, normal_concat=[2, 3, 4, 5], "
        f"reduce={nodes['reduce']}, reduce_concat=[2, 3, 4, 5], connectN=None, connects=None)"
    )


def _numpy(text):
    """Return the text as numpy 2 prints its numbers."""
    for number in range(6):
        text = text.replace(f"', {number})", f"', np.int64({number}))")
    return text.replace("[2, 3, 4, 5]", "array([2, 3, 4, 5])").replace(
        "range(2, 6)", "range(2, 6, 1)"
    )


def _every_edge():
    """The mild cell of SNAS as its code prints it: every edge, ``none`` for the dropped ones."""
    normal = "sep_conv_3x3 sep_conv_3x3 skip_connect dil_conv_3x3 none skip_connect skip_connect "
    normal += "none none skip_connect sep_conv_3x3 none none none"
    reduce = "max_pool_3x3 max_pool_3x3 none max_pool_3x3 skip_connect none max_pool_3x3 "
    reduce += "skip_connect none max_pool_3x3 none dil_conv_5x5 none none"
    order = [(source, node) for node in range(2, 6) for source in range(node)]
    lists, cells = {}, {}
    for kind, names in (("normal", normal.split()), ("reduce", reduce.split())):
        lists[kind] = [(name, source) for name, (source, _) in zip(names, order, strict=True)]
        edges = [Edge(n, *o) for n, o in zip(names, order, strict=True) if n != "none"]
        cells[kind] = CellGenotype(2, 4, tuple(edges), (2, 3, 4, 5))
    text = (
        f"Genotype(normal={lists['normal']}, normal_concat=range(2, 6), "
        f"reduce={lists['reduce']}, reduce_concat=range(2, 6))"
    )
    return text, cells


def _explicit():
    """The cells of DARTS as aw_nas writes them: (operation, source, target)."""
    parts = []
    cells = _of(DARTS_V2)
    for kind, number in (("normal", 0), ("reduce", 1)):
        steps = [(e.operation, e.source, e.target) for e in cells[kind].edges]
        parts += [f"{kind}_{number}={steps!r}", f"{kind}_{number}_concat=[2, 3, 4, 5]"]
    return f"CNNGenotype({', '.join([parts[0], parts[2], parts[1], parts[3]])})", cells


def _hub():
    cells = _of(DARTS_V2)
    data = {}
    for kind, cell in cells.items():
        for index, edge in enumerate(cell.edges):
            data[f"{kind}/op_{edge.target}_{index % 2}"] = edge.operation
            data[f"{kind}/input_{edge.target}_{index % 2}"] = [edge.source]
    return json.dumps(data), cells


def _configuration():
    cells = _of(PC_DARTS)
    numbers = {}
    for node in range(2, 6):
        for source in range(node):
            numbers[source, node] = len(numbers)
    data, base = {}, "NetworkSelectorDatasetInfo:darts:"
    ordered = {}
    for kind, cell in cells.items():
        for edge in cell.edges:
            data[f"{base}edge_{kind}_{numbers[edge.source, edge.target]}"] = edge.operation
        for node in range(3, 6):
            sources = sorted(e.source for e in cell.edges if e.target == node)
            data[f"{base}inputs_node_{kind}_{node}"] = "_".join(map(str, sources))
        edges = tuple(sorted(cell.edges, key=lambda e: (e.target, e.source)))
        ordered[kind] = CellGenotype(2, 4, edges, (2, 3, 4, 5))
    return repr(data), ordered


def _no_reduction():
    text = PC_DARTS[: PC_DARTS.index(", reduce=")] + ", reduce=None, reduce_concat=None)"
    return text, {"normal": _of(PC_DARTS)["normal"]}


def _benchmark():
    pairs = {(0, 1): "conv_3x3", (0, 2): "conv_3x3", (1, 2): "avg_pool_3x3"}
    pairs |= {(0, 3): "skip_connect", (1, 3): "conv_3x3", (2, 3): "skip_connect"}
    edges = tuple(Edge(name, *where) for where, name in pairs.items())
    return {"cell": CellGenotype(1, 3, edges, (3,))}


def _fields(text):
    fields = {key: list(value) for key, value in _plain(text).items()}
    return json.dumps(fields)


def _nested_pairs():
    nodes = "((('nor_conv_3x3', 0),), (('nor_conv_3x3', 0), ('avg_pool_3x3', 1)), "
    nodes += "(('skip_connect', 0), ('nor_conv_3x3', 1), ('skip_connect', 2)))"
    return nodes, _benchmark()


BODIES = {
    "DARTS": (DARTS_V2, _of(DARTS_V2)),
    "PC-DARTS": (PC_DARTS, _of(PC_DARTS)),
    "NASNet": (NASNET, _of(NASNET)),
    "GDAS with weights": _gdas(_weights),
    "numpy 2": (_numpy(DARTS_V2), _of(DARTS_V2)),
    "numpy 2, ranges": (_numpy(PC_DARTS), _of(PC_DARTS)),
    "every edge": _every_edge(),
    "no reduction": _no_reduction(),
    "aw_nas": _explicit(),
    "nni": _hub(),
    "NAS-Bench-301": _configuration(),
    "DARTS as JSON": (_fields(PC_DARTS), _of(PC_DARTS)),
    "a layout note": (DARTS_V2[:-1] + ", layout='cell')", _of(DARTS_V2)),
    "NAS-Bench-201": (STRING, _benchmark()),
    "NAS-Bench-201, pairs": _nested_pairs(),
}


def _lines(body):
    """Break a body behind commas, as an editor formats it."""
    return body.replace("), (", "),\n    (").replace("], ", "],\n  ").replace("', '", "',\n    '")


def _commented(body):
    return "".join(f"# {line}\n" for line in f"X = {_lines(body)}".splitlines())


def _csv(body):
    out = io.StringIO()
    csv.writer(out).writerows([["seed", "genotype", "accuracy"], [3, body, 97.2]])
    return out.getvalue()


def _wrapped(body):
    """Break a log line every 80 characters, as a terminal shows and copies it."""
    line = f"07/03 11:02:41 AM genotype = {body}"
    return "\n".join(line[i : i + 80] for i in range(0, len(line), 80)) + "\n07/03 end\n"


_MODULE = """from collections import namedtuple

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')

PRIMITIVES = [
    'none',
    'max_pool_3x3',
]


def concat(steps):  # makes one of variables, and is none
    return Genotype(normal=gene_normal, normal_concat=range(2, steps),
                    reduce=self.parse(weights), reduce_concat=concat)


"""

LAYOUTS = {
    "alone": lambda b: b,
    "DARTS's logger": lambda b: (
        f"06/28 04:21:06 PM gpu device = 0\n06/28 04:21:06 PM genotype = {b}\n"
    ),
    "a logger without leading zeros": lambda b: (
        f"6/8 4:2:6 train_acc 97.1\n6/8 4:2:6 genotype = {b}\n"
    ),
    "logging's default": lambda b: f"INFO:root:param size = 3.3MB\nINFO:root:genotype = {b}\n",
    "logging with levels": lambda b: f"2021-05-01 12:00:01,123 - INFO - best genotype: {b}\n",
    "loguru": lambda b: f"2021-05-01 12:00:01.123 | INFO     | __main__:main:42 - {b}\n",
    "brackets": lambda b: f"[2021-05-01 12:00:01][train.py:88][INFO] genotype={b};\n",
    "a module": lambda b: f"{_MODULE}SNAS_mild = {b}\n\nPLOT = 'normal'\n",
    "a formatted module": lambda b: f"{_MODULE}SNAS_mild = {_lines(b)}\n",
    "a module with an annotation": lambda b: f"SNAS_mild: Genotype = (\n    {b}\n)\n",
    "a comment": lambda b: f"import torch\n# searched = {b}\n",
    "a formatted comment": lambda b: f"import torch\n{_commented(b)}\nx = 3\n",
    "an attribute": lambda b: (
        f"class A:\n  def __init__(self):\n    self.genotype = {b}  # final\n"
    ),
    "in a tuple": lambda b: f'CELLS = OrderedDict([\n    ("cell", {b}),\n])\n',
    "a YAML scalar": lambda b: (
        f"model:\n  layers: 20\n  genotype: >-\n    {_lines(b)}\n  dropout: 0.2\n"
    ),
    "a YAML list": lambda b: f"genotypes:\n- {b}\n",
    "Markdown, a block": lambda b: (
        f"# Result\n\nThe cell:\n\n```python\ngenotype = {b}\n```\n\nDone.\n"
    ),
    "Markdown, inline": lambda b: f"* found after 50 epochs: `{b}`\n",
    "Markdown, quoted": lambda b: f"> 06/28 04:21:06 PM genotype = {b}\n>\n> thanks\n",
    "a CSV cell": _csv,
    "a shell line": lambda b: (
        f"python train.py --layers 20 --arch '{b}' --auxiliary \\\n  --cutout\n"
    ),
    "a shell line, escaped": lambda b: (
        'python train.py --arch "' + b.replace('"', '\\"') + '" --gpu 0\n'
    ),
    "a shell line, quotes in quotes": lambda b: "train --arch '" + b.replace("'", "'\\''") + "'\n",
    "JSON": lambda b: json.dumps({"epoch": 49, "genotype": b, "valid": 88.7}),
    "lines of JSON": lambda b: f'{{"epoch": 48}}\n{json.dumps({"epoch": 49, "genotype": b})}\n',
    "a wrapped line": _wrapped,
    "Windows line ends": lambda b: f"epoch 49\r\ngenotype = {_lines(b)}\r\n".replace("\n", "\r\n"),
    "colours": lambda b: f"\x1b[32m12:00:01\x1b[0m \x1b[1mgenotype\x1b[0m = {b}\x1b[0m\n",
    "a printed list": lambda b: f"[{b}]\n",
    "a returned value": lambda b: f"def best():\n    return {b}\n",
    "a field of a data class": lambda b: f"@dataclass\nclass Args:\n    genotype: str = {b!r}\n",
    "a diff": lambda b: f"--- a/cells.py\n+++ b/cells.py\n@@ -3,0 +4 @@\n+SNAS_mild = {b}\n",
    "a TOML string": lambda b: f'[model]\ngenotype = """{b}"""\nlayers = 20\n',
    "a trailing comma": lambda b: f"  genotype={b},\n",
}
