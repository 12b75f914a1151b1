"""ONNX files in onnxruntime: for every kind of cell, at batch sizes other than the traced one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from relied import relied_on

from nasbench_snas.architecture.genotype import CellGenotype, Edge, Genotype
from nasbench_snas.architecture.operations import OPERATIONS
from nasbench_snas.architecture.zoo import zoo
from nasbench_snas.evaluate.export import export_network
from nasbench_snas.supernet.child.network import ChildNetwork, ChildSettings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.tools, pytest.mark.slow]


def cell_of(operation: str) -> Genotype:
    """A genotype that uses one operation on every edge, in normal and reduction cells."""
    edges = tuple(Edge(operation, source, 2) for source in (0, 1))
    edges += tuple(Edge(operation, source, 3) for source in (1, 2))
    cell = CellGenotype(2, 2, edges, (2, 3))
    return Genotype({"normal": cell, "reduce": cell}, operation)


def exported(genotype: Genotype, path: Path, resolution: int) -> tuple[ChildNetwork, object]:
    settings = ChildSettings(channels=4, layers=3, resolution=resolution)
    network = ChildNetwork(genotype, settings, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():  # statistics of a trained network are not zero and one
        generator = torch.Generator().manual_seed(1)
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    export_network(network, (3, resolution, resolution), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return network, session


@pytest.mark.parametrize("resolution", [8, 9])
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "none"])
def test_onnxruntime_gives_the_logits_of_every_operation(operation, resolution, tmp_path):
    network, session = exported(cell_of(operation), tmp_path / "child.onnx", resolution)
    for batch in (1, 5):
        images = torch.randn(
            batch, 3, resolution, resolution, generator=torch.Generator().manual_seed(batch)
        )
        (logits,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = network(images).logits.numpy()
        np.testing.assert_allclose(
            logits,
            expected,
            rtol=1e-4,
            atol=1e-4,
            err_msg=relied_on("onnxruntime", f"{operation} at {resolution} pixels, batch {batch}"),
        )


def test_exported_poolings_do_not_round_up(tmp_path):
    """ONNX's own reference pads MaxPool twice under ceil_mode=1, so no file may carry it."""
    path = tmp_path / "child.onnx"
    exported(zoo("darts-v2"), path, 8)
    nodes = [node for node in onnx.load(path).graph.node if node.op_type.endswith("Pool")]
    modes = {a.i for node in nodes for a in node.attribute if a.name == "ceil_mode"}
    assert nodes, "the cell has poolings"
    assert modes <= {0}, relied_on("torch", "poolings are exported with ceil_mode=0")
