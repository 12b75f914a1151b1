"""Training of a parent by a derive rule, undone when the rule has derived.

Some rules train the parent between decisions. That is part of the selection and no part of the
search: weights, running statistics and gradients are put back at the end, so that the child is
validated with the weights of the search, and a search that goes on is what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor, nn

from nasbench_snas.api import Loss
from nasbench_snas.compute.training import cosine_rate, sgd
from nasbench_snas.errors import PluginError
from nasbench_snas.search.levels import check_finite, finish_step
from nasbench_snas.settings.run import ThetaSettings

SHARE_OF_RATE = 0.1
"""The first learning rate, as a share of the search's (DARTS-PT's released code)."""


class Tuning:
    """Trains a parent for a while; a context manager that puts it back at its end.

    SGD with the settings of the search, from a tenth of its learning rate down a cosine. Weights
    that the search has frozen stay as they are.

    Args:
        parent: The network.
        losses: Returns the loss of the next training batch; called once a step.
        theta: The search's settings of theta's optimiser.
        steps: Steps that the rule has announced, over which the learning rate falls.
    """

    def __init__(
        self, parent: nn.Module, losses: Callable[[], Loss], theta: ThetaSettings, steps: int
    ) -> None:
        self._parent, self._losses, self._theta = parent, losses, theta
        self._steps, self._done = steps, 0
        self._before: dict[str, Tensor] | None = None
        self._gradients: list[Tensor | None] = []
        self._optimizer: torch.optim.SGD | None = None

    def __call__(self, z: Tensor, steps: int) -> None:
        """Train for ``steps`` steps at the weights ``z``, shape ``(E, K)``.

        Raises:
            DivergedError: The loss is not finite.
            PluginError: These are more steps than were announced.
        """
        if self._done + steps > self._steps:
            raise PluginError(
                f"a derivation rule trains the parent for more than {self._steps} steps.",
                "Its method work() announced that many.",
                "Return all steps from work(): RuleWork(measured, steps).",
            )
        optimizer, first = self._begun(), self._theta.lr * SHARE_OF_RATE
        training = self._parent.training
        parameters: list[Tensor] = [*self._trained()]
        self._parent.train()
        with torch.enable_grad():
            for _ in range(steps):
                last = min(self._theta.lr_min, first)
                for group in optimizer.param_groups:
                    group["lr"] = cosine_rate(first, last, self._done, self._steps)
                value = self._losses()(z[None, None]).sum()
                check_finite(value)
                optimizer.zero_grad(set_to_none=False)
                value.backward()
                finish_step(parameters, optimizer, self._theta.clip, lambda _: None)
                self._done += 1
        self._parent.train(training)

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self._parent.parameters() if p.requires_grad]

    def _begun(self) -> torch.optim.SGD:
        if self._optimizer is None:
            parameters = self._trained()
            self._before = {k: v.clone() for k, v in self._parent.state_dict().items()}
            self._gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                parameter.grad = torch.zeros_like(parameter)
            self._optimizer = sgd(parameters, self._theta)
        return self._optimizer

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put the parent back as it was before its first step."""
        if self._before is None:
            return
        self._parent.load_state_dict(self._before)
        for parameter, gradient in zip(self._trained(), self._gradients, strict=True):
            parameter.grad = gradient
        self._before, self._optimizer = None, None
