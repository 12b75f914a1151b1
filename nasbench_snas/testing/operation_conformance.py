"""Conformance checks of candidate operations, for built-in ones and third parties alike."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.api import CandidateOperation
from nasbench_snas.architecture.candidates import declared
from nasbench_snas.architecture.genotype import Genotype, from_choices
from nasbench_snas.architecture.operations import OPERATIONS, Operation, offer
from nasbench_snas.architecture.space import CellType, Layer, Space
from nasbench_snas.cost.table import operation_cost
from nasbench_snas.kernels import select_backend
from nasbench_snas.seeding import seeded_init, stream
from nasbench_snas.supernet.child.network import child_from_parent
from nasbench_snas.supernet.fast.parent import FastParent
from nasbench_snas.supernet.modules import build_operation
from nasbench_snas.supernet.reference import ReferenceParent
from nasbench_snas.testing.conformance import Conformance
from nasbench_snas.testing.documentation import DocumentationChecks

CLOSE = 1e-8  # relative tolerance of what must be equal but for rounding, in double precision


class OperationConformance(DocumentationChecks, Conformance):
    """Checks of a candidate operation: a :class:`~nasbench_snas.api.CandidateOperation`.

    Attributes:
        operation: The class under test.
        settings: Nothing: an operation has no settings.
        sizes: Channels, stride and resolution that it must work with.
        documented_attributes: Literal class attributes that listings need.
    """

    subject_attribute = "operation"
    operation: ClassVar[type[CandidateOperation]]
    settings: ClassVar[dict[str, Any]] = {}
    sizes: ClassVar[tuple[tuple[int, int, int], ...]] = ((4, 1, 6), (4, 2, 6), (6, 2, 5), (8, 1, 3))
    documented_attributes = ("name", "summary")

    @property
    def spec(self) -> Operation:
        """What the class declares."""
        return declared(self.operation)

    def module(self, channels: int, stride: int, affine: bool = False, seed: int = 0) -> nn.Module:
        """Return the operation's module with weights of ``seed``, in double precision."""
        with seeded_init(stream(seed, "conformance")):
            built = build_operation(self.spec, channels, stride, affine=affine, pool_norm=True)
        return built.to(device=self.device, dtype=torch.float64)

    def images(self, *shape: int) -> Tensor:
        """Return random images in double precision."""
        drawn = torch.randn(shape, generator=stream(1, "conformance"), dtype=torch.float64)
        return drawn.to(self.device)

    def space(self, affine: bool = False) -> Space:
        """Return a small space with the operation on edges of both strides."""
        offer(self.operation.name, lambda: self.spec)
        return Space(
            name="conformance",
            operations=("none", "skip_connect", self.operation.name),
            cells=(CellType.dense("cell", 2, 2),),
            layers=(Layer("cell", 4, 1, "cell"), Layer("cell", 4, 2, "cell")),
            stem_channels=4,
            affine=affine,
            num_classes=3,
            resolution=6,
        )

    def test_the_name_is_not_built_in(self) -> None:
        """A name means one operation."""
        assert self.operation.name not in OPERATIONS, f"{self.operation.name} is built in"

    def test_it_declares_units_or_a_module_with_its_cost(self) -> None:
        """Exactly one of both ways, so that network and cost are of the same operation."""
        assert self.spec.kind in ("conv", "module")

    def test_output_keeps_channels_and_follows_the_stride(self) -> None:
        """``(B, C, H, W)`` becomes ``(B, C, ceil(H / s), ceil(W / s))``, also at odd sizes."""
        for channels, stride, size in self.sizes:
            y = self.module(channels, stride)(self.images(3, channels, size, size))
            half = -(-size // stride)
            assert tuple(y.shape) == (3, channels, half, half), f"got {tuple(y.shape)}"
            assert torch.isfinite(y).all(), "the output is not finite"

    def test_declared_parameters_are_those_of_the_module(self) -> None:
        """``cost().parameters`` counts the trainable scalars, with and without learnt norms."""
        for channels, stride, size in self.sizes:
            for affine in (False, True):
                module = self.module(channels, stride, affine)
                found = sum(p.numel() for p in module.parameters() if p.requires_grad)
                said = operation_cost(self.spec, channels, stride, size, affine=affine).parameters
                assert said == found, (
                    f"{channels} channels, stride {stride}, affine {affine}: declared {said}, "
                    f"the module has {found}"
                )

    def test_declared_multiply_adds_are_those_of_torchs_counter(self) -> None:
        """``cost().macs`` is half of what ``torch.utils.flop_counter`` counts for one image."""
        for channels, stride, size in self.sizes:
            module = self.module(channels, stride).eval()
            with FlopCounterMode(display=False) as counter:
                module(self.images(1, channels, size, size))
            said = operation_cost(self.spec, channels, stride, size).macs
            assert 2 * said == counter.get_total_flops(), (
                f"{channels} channels, stride {stride}, {size} pixels: declared {said}, counted "
                f"{counter.get_total_flops() / 2:g} (products of matrices and convolutions only)"
            )

    def test_declared_memory_access_is_positive(self) -> None:
        """Something is read and written."""
        for channels, stride, size in self.sizes:
            assert operation_cost(self.spec, channels, stride, size).access > 0

    def test_images_of_a_batch_do_not_see_each_other_in_evaluation(self) -> None:
        """An image gives the same alone and in a batch: else accuracies depend on the batch."""
        module, x = self.module(4, 1), self.images(3, 4, 6, 6)
        module.train()(x)
        module.eval()
        alone = torch.cat([module(image[None]) for image in x])
        torch.testing.assert_close(module(x), alone, rtol=CLOSE, atol=CLOSE)

    def test_weights_are_drawn_from_torchs_generator_alone(self) -> None:
        """The same seed gives the same weights, another seed others."""
        first, again, other = (self.module(4, 1, seed=seed) for seed in (0, 0, 1))
        pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs), "the weights depend on hidden state"
        drawn = [p for p in first.parameters() if p.dim() > 1]
        others = [p for p in other.parameters() if p.dim() > 1]
        different = [not torch.equal(a, b) for a, b in zip(drawn, others, strict=True)]
        assert not drawn or any(different), "the weights ignore the seed"

    def test_a_pass_draws_no_random_numbers(self) -> None:
        """All randomness of a search is the estimator's: a run must be repeatable."""
        module, x = self.module(4, 1).train(), self.images(3, 4, 6, 6)
        before = torch.get_rng_state()
        module(x)
        assert torch.equal(before, torch.get_rng_state()), "forward() draws from torch's generator"

    def test_the_input_is_left_as_it_is(self) -> None:
        """Other operations read the same node."""
        x = self.images(2, 4, 6, 6)
        before = x.clone()
        self.module(4, 1)(x)
        assert torch.equal(x, before), "forward() changes its input"

    def test_gradients_reach_the_input_and_every_weight(self) -> None:
        """A weight without a gradient is not trained."""
        module, x = self.module(4, 1, affine=True), self.images(3, 4, 6, 6).requires_grad_()
        (module(x) ** 3).sum().backward()
        assert x.grad is not None and x.grad.any(), "no gradient reaches the input"
        dead = [name for name, p in module.named_parameters() if p.grad is None]
        assert not dead, f"no gradient reaches {dead}"

    def test_second_derivatives_agree_with_differences(self) -> None:
        """What the level ``unrolled`` differentiates twice is right."""
        module, x = self.module(4, 1).train(), self.images(2, 4, 3, 3).requires_grad_()
        assert torch.autograd.gradgradcheck(module, (x,), fast_mode=True)

    def test_the_fast_parent_equals_the_reference(self) -> None:
        """Logits, ``dL/dz``, gradients of weights and running statistics, for several draws."""
        for affine in (False, True):
            space = self.space(affine)
            reference = ReferenceParent(space, stream(0, "theta")).double().to(self.device)
            kernels = select_backend("reference", self.device, torch.float64)[0]
            fast = FastParent(space, stream(0, "theta"), kernels=kernels)
            fast.double().to(self.device)
            z = torch.rand(
                2, space.num_edges, space.num_operations, generator=stream(2, "conformance")
            )
            results = [_pass(net, self.images(3, 3, 6, 6), z) for net in (reference, fast)]
            for name, right in results[0].items():
                scale = float(right.abs().max()) if right.numel() else 0.0
                torch.testing.assert_close(
                    results[1][name], right, rtol=CLOSE, atol=CLOSE * max(scale, 1.0), msg=name
                )

    def test_the_child_has_the_parents_logits(self) -> None:
        """The derived network is the parent at the chosen operations; the genotype survives."""
        space = self.space()
        parent = ReferenceParent(space, stream(0, "theta")).double().to(self.device).eval()
        z = torch.zeros(1, space.num_edges, space.num_operations, dtype=torch.float64)
        z[..., -1] = 1.0
        z = z.to(self.device)
        genotype = from_choices(space, z[0].tolist())
        assert Genotype.from_dict(genotype.to_dict()) == genotype, "the genotype changes"
        images = self.images(2, 3, 6, 6)
        child = child_from_parent(parent, genotype)
        torch.testing.assert_close(
            child(images).logits, parent(images, z)[0], rtol=CLOSE, atol=CLOSE
        )


def _pass(net: Any, images: Tensor, z: Tensor) -> dict[str, Tensor]:
    """Return logits, the gradient of ``z``, those of the weights, and the buffers, by name."""
    net.train()
    leaf = z.to(images).requires_grad_()
    logits: Tensor = net(images, leaf)
    (logits**3).sum().backward()
    grads = {n: p.grad if p.grad is not None else 0 * p for n, p in net.named_parameters()}
    if leaf.grad is None:
        raise AssertionError("no gradient reaches z")
    return {
        "logits": logits.detach(),
        "dz": leaf.grad,
        **net.canonical(grads),
        **net.canonical(dict(net.named_buffers())),
    }
