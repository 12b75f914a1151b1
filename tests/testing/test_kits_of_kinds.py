"""The kits of data sets, rules, transformers and stops: what is right passes, faults are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasbench_snas.api import (
    DerivationRule,
    EarlyStop,
    ImageDataset,
    LossTransformer,
    Verdict,
    loss_at,
    loss_plus,
)
from nasbench_snas.data import from_arrays
from nasbench_snas.registry import Registry
from nasbench_snas.search.perturbation import Perturbation
from nasbench_snas.search.rules import Argmax, BestOfN, Sample, Top2
from nasbench_snas.search.shapley import Shapley
from nasbench_snas.testing import DatasetConformance, RuleConformance, TransformerConformance
from nasbench_snas.testing.conformance import PREFIX
from nasbench_snas.testing.target import test_class as made_test_class

ROOT = Path(__file__).resolve().parents[2]
_OF_TEXT = {"module_docstring_states_equation_and_reference", "listed_attributes_are_literals"}
_OF_TEXT |= {"class_docstring_explains_every_setting", "built_in_files_are_short"}
_OF_TEXT |= {"settings_are_keywords_with_defaults", "defaults_are_the_documented_ones"}
_OF_TEXT |= {"reference_resolves_to_bibtex", "name_is_lower_case_with_dashes"}


def failed(subject: type, *, texts: bool = False) -> set[str]:
    """Return the checks that ``subject`` fails; those of its text only where asked for."""
    kit = made_test_class(subject)
    found = set()
    for check in kit.checks():
        if check in _OF_TEXT and not texts:
            continue
        try:
            getattr(kit(), PREFIX + check)()
        except pytest.skip.Exception:
            continue
        except Exception:  # noqa: BLE001  # a check that crashes has failed
            found.add(check)
    return found


@pytest.mark.parametrize("file", ["handwriting.py", "hill_climb.py", "perturbed.py"])
def test_the_examples_pass(file: str) -> None:
    path = str(ROOT / "examples/plugins" / file)
    registry = Registry(plugins=[path])
    kinds = ("dataset", "rule", "transformer")
    mine = [e for kind in kinds for e in registry.entries(kind) if e.origin == f"--plugin {path}"]
    assert mine
    for entry in mine:
        assert failed(registry.plugin(entry.kind, entry.name), texts=True) == set(), entry.name


@pytest.mark.parametrize("rule", [Argmax, Top2, Sample, BestOfN, Perturbation, Shapley])
def test_the_rules_of_the_suite_pass(rule: type[DerivationRule]) -> None:
    assert failed(rule) == set()


RNG = np.random.default_rng(0)
PIXELS = RNG.integers(256, size=(60, 8, 8), dtype=np.uint8)
LABELS = np.arange(60) % 3


class Right(ImageDataset):
    name = "right"
    summary = "random"
    licence = "none"
    test_fraction = 0.5

    def load(self, part: Any, root: Path) -> Any:
        return from_arrays(PIXELS, LABELS)


class Unseeded(Right):
    def load(self, part: Any, root: Path) -> Any:
        noise = np.random.randint(2, size=PIXELS.shape)  # noqa: NPY002
        return from_arrays(PIXELS ^ noise.astype(np.uint8), LABELS)


class Leaking(Right):
    test_fraction = 0.0

    def load(self, part: Any, root: Path) -> Any:
        chosen = slice(0, 40) if part == "train" else slice(30, 60)
        return from_arrays(PIXELS[chosen], LABELS[chosen])


class Hollow(Right):
    def load(self, part: Any, root: Path) -> Any:
        return from_arrays(PIXELS, np.where(LABELS == 1, 2, LABELS))


class Taken(Right):
    name = "digits"


class Lopsided(Right):
    mean = (0.5,)


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (Right, set()),
        (Unseeded, {"reading_again_gives_the_same_images"}),
        (Leaking, {"no_test_image_is_a_training_image"}),
        (Hollow, {"both_parts_are_labelled_images_of_several_classes"}),
        (Lopsided, {"statistics_go_together"}),
    ],
)
def test_faults_of_a_data_set_are_found(subject: type, found: set[str]) -> None:
    assert failed(subject) == found


def test_a_taken_name_is_found() -> None:
    assert "its_name_is_free" in failed(Taken)


class Unsettled(Sample):
    name = "unsettled"

    def derive(self, state: Any) -> Any:
        torch.rand(1)
        return state.dist.hard(torch.rand(1, 1, *state.probs.shape))[0, 0]


class Meddling(Argmax):
    name = "meddling"

    def derive(self, state: Any) -> Any:
        with torch.no_grad():
            state.dist.alpha.add_(1.0)
        return super().derive(state)


class Idle(Argmax):
    name = "idle"
    uses_images = True


class Tireless(BestOfN):
    name = "tireless"

    def derive(self, state: Any) -> Any:
        state.tune(state.probs, 3)
        return super().derive(state)


class Soft(Argmax):
    name = "soft"

    def derive(self, state: Any) -> Any:
        return state.probs


ARCHITECTURE = "it_derives_an_architecture_whatever_the_logits"


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (Unsettled, {"the_same_state_gives_the_same_child"}),
        (Meddling, {"the_search_is_left_as_it_is"}),
        (Idle, {"it_looks_at_images_only_if_it_says_so"}),
        (Tireless, {"it_looks_at_images_only_if_it_says_so"}),
    ],
)
def test_faults_of_a_rule_are_found(subject: type, found: set[str]) -> None:
    assert failed(subject) == found


def test_a_rule_without_an_architecture_is_found() -> None:
    assert {ARCHITECTURE, "the_name_is_not_that_of_a_view"} <= failed(Soft)


class Late(LossTransformer):
    name = "late"

    def transform(self, loss: Any, step: Any) -> Any:
        return loss_plus(
            loss, lambda z: torch.rand(z.shape[:2], generator=step.generator, dtype=z.dtype)
        )


class Together(LossTransformer):
    name = "together"

    def transform(self, loss: Any, step: Any) -> Any:
        return loss_plus(loss, lambda z: z.mean().expand(z.shape[:2]))


class Cut(LossTransformer):
    name = "cut"

    def transform(self, loss: Any, step: Any) -> Any:
        return loss_at(loss, lambda z: (z + 0.5 * z.square()).detach())


class Forgetful(LossTransformer):
    name = "forgetful"

    def transform(self, loss: Any, step: Any) -> Any:
        class Other:
            def __call__(self, z: Any, run: Any = None) -> Any:
                return 2 * loss(z)

            def error(self, z: Any) -> Any:
                return loss.error(z)

        return Other()


class Global(LossTransformer):
    name = "global"

    def transform(self, loss: Any, step: Any) -> Any:
        move = torch.rand(1)
        return loss_at(loss, lambda z: z + move)


class Nothing(LossTransformer):
    name = "nothing"


class Counting(LossTransformer):
    name = "counting"

    def __init__(self) -> None:
        self.steps = 0

    def transform(self, loss: Any, step: Any) -> Any:
        self.steps += 1
        return loss_plus(loss, lambda z, n=self.steps: n * z.mean(dim=(-1, -2)))


class Apart(LossTransformer):
    name = "apart"

    def penalty(self, dist: Any, step: Any) -> Any:
        return (dist.alpha.detach() * 2).sum().requires_grad_()


class Twice(LossTransformer):
    name = "twice"
    captures = True

    def transform(self, loss: Any, step: Any) -> Any:
        return loss_plus(loss, lambda z: loss(z, z >= 0))


FIXED = "the_loss_is_a_fixed_function_of_one_architecture"


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (Late, {FIXED, "it_draws_when_the_step_begins_from_its_own_generator"}),
        (Together, {FIXED}),
        (Cut, {"its_gradient_reaches_the_weights"}),
        (Forgetful, {"masks_of_operations_are_passed_on"}),
        (Global, {"it_draws_when_the_step_begins_from_its_own_generator"}),
        (Nothing, {"it_changes_something"}),
        (Twice, {"it_captures_only_what_is_evaluated_once"}),
        (Counting, {"its_state_survives_a_round_trip"}),
        (Apart, {"the_penalty_is_a_scalar_of_the_parameters"}),
    ],
)
def test_faults_of_a_transformer_are_found(subject: type, found: set[str]) -> None:
    extra = {"its_gradient_reaches_the_weights", "its_state_survives_a_round_trip"}
    assert found <= failed(subject) <= found | extra


class Looking(EarlyStop):
    name = "looking"

    def decide(self, state: Any) -> Any:
        return None


class Moving(Looking):
    name = "moving"

    def decide(self, state: Any) -> Any:
        with torch.no_grad():
            state.dist.alpha.add_(1.0)


class Differentiating(Looking):
    name = "differentiating"

    def decide(self, state: Any) -> Any:
        state.dist.alpha.sum().backward()


class Chancy(Looking):
    name = "chancy"

    def decide(self, state: Any) -> Any:
        state.log("drawn", float(torch.rand(1)))


class Memoryless(Looking):
    name = "memoryless"

    def __init__(self) -> None:
        self.seen = 0

    def decide(self, state: Any) -> Any:
        self.seen += 1
        return Verdict("enough") if self.seen > 10 else None


class Backwards(Looking):
    name = "backwards"

    def decide(self, state: Any) -> Any:
        return Verdict("long ago", 1)


class Silent(Looking):
    name = "silent"

    def decide(self, state: Any) -> Any:
        return Verdict("")


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (Looking, set()),
        (Moving, {"the_search_is_left_as_it_is"}),
        (Differentiating, {"the_search_is_left_as_it_is"}),
        (Chancy, {"the_same_search_has_the_same_verdicts", "its_state_survives_a_round_trip"}),
        (Memoryless, {"its_state_survives_a_round_trip"}),
        (Backwards, {"it_returns_a_verdict_or_nothing"}),
        (Silent, {"it_returns_a_verdict_or_nothing"}),
    ],
)
def test_faults_of_a_stop_are_found(subject: type, found: set[str]) -> None:
    assert failed(subject) == found


def test_the_kits_are_public() -> None:
    assert DatasetConformance.subject_attribute == "dataset"
    assert RuleConformance.subject_attribute == "rule"
    assert TransformerConformance.subject_attribute == "transformer"
