"""Export of a trained network: a ``torch.export`` program, or ONNX; checked against the module.

The exported program takes normalised images ``(B, C, H, W)``, any B, and returns logits
``(B, classes)``. After writing, the file is read back and must give the module's logits on a random
batch of another size than the one it was traced with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nasbench_snas.errors import ConfigError, MissingDependencyError, NasbenchError
from nasbench_snas.supernet.child.network import ChildNetwork

TOLERANCE = 1e-4
"""Largest accepted difference of logits, relative to the largest logit (or 1)."""
LARGEST_FILE = 2**31 - 2**24
"""Bytes of weights that ONNX's one file can hold (2 GB, less the graph); more need a second."""


class LogitsOnly(nn.Module):
    """A child without its auxiliary head: images to logits."""

    def __init__(self, network: ChildNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(B, classes)`` of normalised images ``(B, C, H, W)``."""
        logits: Tensor = self.network(images).logits
        return logits


def export_network(network: ChildNetwork, shape: tuple[int, int, int], path: Path) -> float:
    """Write ``network`` to ``path`` (``.pt2`` or ``.onnx``) and check it.

    Args:
        network: A trained child.
        shape: Channels, height and width of an image.
        path: Where to; the suffix decides the format.

    An ONNX file holds its weights below 2 GB; above, they stand in ``<path>.data`` beside it.

    Returns:
        The largest difference between the file's logits and the module's, relative to the largest
        logit (or 1).

    Raises:
        ConfigError: Another suffix.
        MissingDependencyError: ONNX without its packages.
        NasbenchError: The file does not give the module's logits; it is kept for inspection.
    """
    writers = {".pt2": _program, ".onnx": _onnx}
    if path.suffix not in writers:
        raise ConfigError(f"cannot export to {path.suffix!r}.", "Known: .pt2, .onnx")
    module = LogitsOnly(network.cpu()).eval()
    generator = torch.Generator().manual_seed(0)
    traced, other = (torch.randn(batch, *shape, generator=generator) for batch in (2, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        expected = module(other)
    found = writers[path.suffix](module, traced, other, path).detach()
    difference = float((found - expected).abs().max()) / max(float(expected.abs().max()), 1.0)
    if not difference <= TOLERANCE:
        raise NasbenchError(
            f"{path} gives other logits than the module (relative difference {difference:.2e}).",
            f"At most {TOLERANCE:.0e} is rounding.",
            "The file is kept for inspection; do not use it.",
        )
    return difference


def _program(module: nn.Module, traced: Tensor, other: Tensor, path: Path) -> Tensor:
    dynamic = {"images": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(module, (traced,), dynamic_shapes=dynamic)
    torch.export.save(program, path)
    with torch.no_grad():
        logits: Tensor = torch.export.load(path).module()(other)
    return logits


def _onnx(module: nn.Module, traced: Tensor, other: Tensor, path: Path) -> Tensor:
    evaluator = _onnx_evaluator()
    torch.onnx.export(
        module,
        (traced,),
        str(path),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
        external_data=_bytes(module) > LARGEST_FILE,
        dynamo=True,
        verbose=False,
    )
    (logits,) = evaluator(str(path)).run(None, {"images": other.numpy()})
    return torch.from_numpy(logits)


def _bytes(module: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


def _onnx_evaluator() -> Any:
    """Return a class that runs ONNX files: onnxruntime's if it is installed, else onnx's own."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"export to ONNX needs a package that is not installed: {error.name}.",
            fix="pip install 'nasbench-snas[export]'",
        ) from error
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        from onnx.reference import ReferenceEvaluator

        return ReferenceEvaluator
    return InferenceSession
