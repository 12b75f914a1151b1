"""A network under ``torch.compile``: one graph for each network, and how many there were.

A process compiles a piece of code eight times at most; what comes later runs eagerly, without a
word. So whatever earlier networks left is forgotten before one is compiled, and graphs are counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Compiled:
    """A compiled network.

    Args:
        network: The network.
        backend: Name of torch's backend, for example ``inductor``.

    Attributes:
        forward: What is called instead of the network.
        graphs: How many graphs were compiled.
    """

    def __init__(self, network: nn.Module, backend: str) -> None:
        self.graphs = 0
        self._compile = torch._dynamo.lookup_backend(backend)
        torch._dynamo.reset()
        self.forward: Any = torch.compile(network, backend=self._counted)

    def _counted(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return self._compile(graph, inputs)
