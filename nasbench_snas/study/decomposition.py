"""Taylor decomposition of a network's output, the premise of SNAS's credit (Appendix E).

Eqs. (29)-(31): with a root point next to zero the credits of the inputs are ``R_i = x_i df/dx_i``,
and they add up to ``f(x)`` *if* ``f`` is homogeneous of degree one along ``x``: a network of
convolutions, poolings, ReLU and sums without any bias. A batch norm or a bias breaks that, and with
it the reading of eq. (8) as a share of the output; :func:`unexplained` says by how much.

Eqs. (32), (33): the output's derivative at a node integrates those of its successors, and is
divided among the edges that point to it, ``^R_ij = <df/dx_j, O~_ij(x_i)>``. With the output in the
place of the loss this is ``Z_ij . df/dZ_ij``, summed over the cells that share the edge.

Reference: Xie et al. 2019, arXiv:1812.09926, Appendix E; Montavon et al. 2017,
doi:10.1016/j.patcog.2016.11.008.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Literal

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]
Network = Literal["homogeneous", "biases", "norms"]


# Implements SNAS (30).
def input_credits(f: Function, x: Tensor) -> Tensor:
    """Return ``R_i = x_i df/dx_i`` of eq. (30), the root point at ``x -> 0`` on the same ray.

    Args:
        f: The function, one value an example, ``(B, ...)`` to ``(B,)``. Its gradient is that of the
            sum over the examples: where a batch norm couples them, so does the credit.
        x: Its argument, shape ``(B, ...)``.

    Returns:
        The shape of ``x``.
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(f(x).sum(), x)
    return x.detach() * slope


# Implements SNAS (29, 31).
def unexplained(f: Function, x: Tensor) -> Tensor:
    """Return what the credits do not explain, relative to the output: 0 where eq. (31) holds.

    ``|f - sum_i R_i| / |f|``, norms over the examples: the higher-order terms of eq. (29).

    Args:
        f: As for :func:`input_credits`.
        x: Shape ``(B, ...)``.

    Returns:
        A scalar.
    """
    explained = input_credits(f, x).flatten(1).sum(dim=1)
    with torch.no_grad():
        value = f(x)
    rest: Tensor = torch.linalg.vector_norm(value - explained) / torch.linalg.vector_norm(value)
    return rest


# Implements SNAS (33).
def edge_credits(output: Function, z: Tensor) -> Tensor:
    """Return ``^R_ij`` of eq. (33), how the output's credit is divided among the edges.

    Args:
        output: A scalar output of the network, say one class's logit summed over a batch, of
            weights ``(S, E, K)``, shape ``(S,)``. Operations must run where ``z`` is not zero.
        z: Weights of the operations, shape ``(S, E, K)``; one-hot or relaxed.

    Returns:
        Shape ``(S, E)``, summed over the cells that share an edge.
    """
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(output(z).sum(), z)
    return (z.detach() * slope).sum(dim=-1)


def stripped(network: nn.Module, keep: Network) -> nn.Module:
    """Return a copy of ``network`` with only those parts left that break eq. (31).

    Args:
        network: Any module.
        keep: ``homogeneous``: no batch norm and all biases zero; ``biases``: no batch norm, biases
            as they are; ``norms``: batch norms as they are, all biases of other modules zero.
    """
    copy = deepcopy(network)
    for module in list(copy.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and keep != "norms":
                setattr(module, name, nn.Identity())
        bias = getattr(module, "bias", None)
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if isinstance(bias, nn.Parameter) and not norm and keep != "biases":
            nn.init.zeros_(bias)
    return copy
