"""Small objectives in float64 whose architectures can be enumerated, to prove estimators on.

* :class:`Multilinear` ``prod_e <c_e, z_e>``: affine in each edge; DARTS, straight-through and DSNAS
  are exact on it.
* :class:`Quadratic` ``|A vec(z) - b|^2 / 2``: second order in each edge.
* :class:`Exponential` ``exp(<c, z>)``: all orders.
* :class:`CellLoss`: a network of three intermediate nodes, six edges and three operations (zero,
  skip, ``tanh(x W + b)``) with a cross-entropy head, as in Figure 6 and Appendix C of SNAS
  (arXiv:1812.09926); 729 architectures. With ``activation="identity"`` and ``head="linear"`` it is
  multilinear.

All of them implement :class:`nasbench_snas.api.Loss`, have parameters theta, and are vectorised
over ``(R, n)``. Theta may carry a replicate axis as the distributions do, so that ``R`` independent
draws of the theta-gradient come out of one backward pass. Unless ``all_operations`` is set,
``dL/dz`` of operations with weight zero is zero, as in a supernet that skips them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn import functional


class ToyLoss(ABC):
    """Base of the toy objectives.

    Args:
        theta: Parameters, flat, shape ``(P,)`` or ``(R, P)``.
        num_edges: ``E``.
        num_operations: ``K``.

    Attributes:
        theta: Leaf with gradient, shape ``(R, P)``, ``R = 1`` unless replicated.
        all_operations: Whether ``dL/dz`` of operations with weight zero is kept.
        evaluations: Architectures evaluated so far.
    """

    def __init__(self, theta: Tensor, num_edges: int, num_operations: int) -> None:
        self.theta = theta.detach().clone().reshape(-1, theta.shape[-1]).requires_grad_()
        self.num_edges, self.num_operations = num_edges, num_operations
        self.all_operations = False
        self.evaluations = 0

    @abstractmethod
    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss, shape ``(R, n)``.

        Args:
            z: Weights, shape ``(R, n, E, K)``.
            theta: Parameters, shape ``(R, 1, P)`` or ``(1, 1, P)``.
        """

    def __call__(self, z: Tensor, run: Tensor | None = None) -> Tensor:
        """Return the loss of each architecture; see :class:`nasbench_snas.api.Loss`."""
        self.evaluations += z.shape[0] * z.shape[1]
        return self.value(self._skip(z, run), self.theta[:, None].to(z.dtype))

    def error(self, z: Tensor) -> Tensor:
        """Return a made-up error in (0, 1), ``(R, n)``, without a graph: ``sigmoid(L - 1)``."""
        with torch.no_grad():
            return torch.sigmoid(self.value(z, self.theta[:, None].to(z.dtype)) - 1)

    def replicate(self, replicates: int) -> Self:
        """Return a copy with ``R`` equal copies of the first replicate of theta as one leaf."""
        return self.with_theta(self.theta.detach()[:1].expand(replicates, -1))

    def with_theta(self, theta: Tensor) -> Self:
        """Return a copy at other parameters, shape ``(P,)`` or ``(R, P)``."""
        other = copy(self)
        other.theta = theta.detach().clone().reshape(-1, theta.shape[-1]).requires_grad_()
        return other

    def viewed_by(self, needs_all_operations: bool) -> Self:
        """Return a copy that shares theta and gives ``dL/dz`` as such an estimator gets it."""
        other = copy(self)
        other.all_operations = needs_all_operations
        return other

    def _skip(self, z: Tensor, run: Tensor | None) -> Tensor:
        if self.all_operations:
            return z
        used = z.detach() != 0
        return torch.where(used if run is None else used | run, z, torch.zeros_like(z))


class Multilinear(ToyLoss):
    """``L = prod_e <c_e, z_e>``; theta: ``c``, shape ``(E, K)`` flattened."""

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        return (z * theta.reshape(*theta.shape[:-1], *z.shape[-2:])).sum(dim=-1).prod(dim=-1)


class Linear(ToyLoss):
    """``L = <c, vec(z)>``; theta: ``c``, shape ``(E, K)`` flattened."""

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        return (z.flatten(-2) * theta).sum(dim=-1)


class Quadratic(ToyLoss):
    """``L = |vec(z) A - b|^2 / 2``; theta: ``A``, shape ``(EK, M)``, then ``b``, shape ``(M,)``."""

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        rows = self.num_edges * self.num_operations
        columns = theta.shape[-1] // (rows + 1)
        matrix = theta[..., : rows * columns].reshape(*theta.shape[:-1], rows, columns)
        residual = torch.einsum("...i,...ij->...j", z.flatten(-2), matrix)
        return (residual - theta[..., rows * columns :]).square().sum(dim=-1) / 2


class Exponential(ToyLoss):
    """``L = exp(<c, z>)``; theta: ``c``, shape ``(E, K)`` flattened."""

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        return (z.flatten(-2) * theta).sum(dim=-1).exp()


class Scaled(ToyLoss):
    """``shift + scale * L``: another objective in other units.

    Args:
        base: ``L``; theta is its.
        scale: Factor.
        shift: What is added, in nats.
    """

    def __init__(self, base: ToyLoss, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__(base.theta, base.num_edges, base.num_operations)
        self.base, self.scale, self.shift = base, scale, shift

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        return self.shift + self.scale * self.base.value(z, theta)


class CellLoss(ToyLoss):
    """Loss of a three-node cell on one batch; see the module's docstring.

    Args:
        theta: Parameters, flat: ``W`` (6, w, w), ``b`` (6, w), head (3w, C), its bias (C,).
        inputs: Node 0, shape ``(B, w)``.
        labels: Classes, shape ``(B,)``.
        num_classes: ``C``.
        activation: Of the third operation: ``tanh``, ``relu`` or ``identity``.
        head: ``cross-entropy``, or ``linear``: the mean of minus the label's logit.
    """

    EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    NODES = 3

    def __init__(
        self,
        theta: Tensor,
        inputs: Tensor,
        labels: Tensor,
        num_classes: int,
        activation: Literal["tanh", "relu", "identity"] = "tanh",
        head: Literal["cross-entropy", "linear"] = "cross-entropy",
    ) -> None:
        super().__init__(theta, len(self.EDGES), 3)
        self.inputs, self.labels, self.num_classes = inputs, labels, num_classes
        self.activation, self.head = activation, head

    @classmethod
    def shapes(cls, width: int, num_classes: int) -> list[tuple[int, ...]]:
        """Return the shapes of the tensors that theta consists of, in order."""
        edges = len(cls.EDGES)
        wide = cls.NODES * width
        return [(edges, width, width), (edges, width), (wide, num_classes), (num_classes,)]

    def tensors(self, theta: Tensor) -> list[Tensor]:
        """Return the tensors in ``theta`` ``(..., P)``, each with the leading axes of theta."""
        shapes = self.shapes(self.inputs.shape[1], self.num_classes)
        parts = torch.split(theta, [torch.Size(shape).numel() for shape in shapes], dim=-1)
        leading = theta.shape[:-1]
        return [part.reshape(leading + shape) for part, shape in zip(parts, shapes, strict=True)]

    def logits(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the logits, shape ``(R, n, B, C)``; arguments as in :meth:`value`."""
        weight, bias, head, offset = self.tensors(theta)
        act = {"tanh": torch.tanh, "relu": torch.relu, "identity": torch.clone}[self.activation]
        nodes = [self.inputs.to(z.dtype).expand(*z.shape[:2], -1, -1)]
        for target in range(1, self.NODES + 1):
            total = torch.zeros_like(nodes[0])
            for e, (source, end) in enumerate(self.EDGES):
                if end == target:
                    x, row = nodes[source], z[..., e, :, None, None]
                    parametric = act(_affine(x, weight[:, 0, e], bias[:, 0, e]))
                    total = total + row[..., 1, :, :] * x + row[..., 2, :, :] * parametric
            nodes.append(total)
        return _affine(torch.cat(nodes[1:], dim=-1), head[:, 0], offset[:, 0])

    def value(self, z: Tensor, theta: Tensor) -> Tensor:
        """Return the loss; see :meth:`ToyLoss.value`."""
        logits = self.logits(z, theta)
        if self.head == "cross-entropy":
            logits = logits.log_softmax(dim=-1)
        chosen = functional.one_hot(self.labels, self.num_classes).to(logits.dtype)
        return -(logits * chosen).sum(dim=-1).mean(dim=-1)

    def error(self, z: Tensor) -> Tensor:
        """Return the misclassified fraction, shape ``(R, n)``, without a graph."""
        with torch.no_grad():
            predicted = self.logits(z, self.theta[:, None].to(z.dtype)).argmax(dim=-1)
            return (predicted != self.labels).to(z.dtype).mean(dim=-1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return ``x W + b`` of ``x`` ``(R, n, B, w)`` with ``W`` ``(R, w, v)``, ``b`` ``(R, v)``."""
    flat = x.flatten(1, 2) @ weight + bias[:, None]
    return flat.reshape(*x.shape[:3], weight.shape[-1])
