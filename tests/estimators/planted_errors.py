"""Estimators with one planted error each, and the proven reference they are compared with.

Most of the errors have been made: the class's docstring says what is wrong, not where it was seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nasbench_snas.api import Estimator, Score, one_hot, score_term, straight_through
from nasbench_snas.estimators.arsm import ARSM
from nasbench_snas.estimators.dsnas import DSNAS
from nasbench_snas.estimators.enas import ENAS
from nasbench_snas.estimators.gdas import GDAS
from nasbench_snas.estimators.gumbel_rao import GumbelRao
from nasbench_snas.estimators.local_expectation import LocalExpectation
from nasbench_snas.estimators.muprop import MuProp
from nasbench_snas.estimators.rebar import REBAR, through_weights
from nasbench_snas.estimators.reinforce import MovingAverage, Reinforce
from nasbench_snas.estimators.reinmax import ReinMax
from nasbench_snas.estimators.relax import RELAX
from nasbench_snas.estimators.rloo import RLOO
from nasbench_snas.estimators.self_critical import SelfCritical
from nasbench_snas.estimators.snas import SNAS
from nasbench_snas.estimators.st_gumbel import STGumbel
from nasbench_snas.estimators.sum_and_sample import SumAndSample
from nasbench_snas.estimators.unordered_set import UnorderedSet, gumbel_top_k
from nasbench_snas.estimators.vargrad import VarGrad


class FixedBaseline(Score):
    """The reference: ``mean_i (L_i - b) grad log p(Z_i)`` with a constant ``b``."""

    name, bias = "fixed-baseline", "unbiased"

    def __init__(self, b: float = 0.0, n: int = 1) -> None:
        super().__init__()
        self.b, self.n = b, n

    def advantage(self, losses, loss, dist, z):
        return losses - self.b


class MeanOfAllDraws(RLOO):
    """The baseline is the mean of all draws, own one included, without the factor n/(n-1)."""

    def advantage(self, losses, loss, dist, z):
        return losses - losses.mean(dim=1, keepdim=True)


class SmallestDraw(RLOO):
    """The baseline is the smallest of the losses, own one included."""

    def advantage(self, losses, loss, dist, z):
        return losses - losses.amin(dim=1, keepdim=True)


class SumInsteadOfMean(RLOO):
    """Theta gets the sum over the draws."""

    def surrogate(self, loss, dist, noise):
        z = dist.hard(noise)
        losses = loss(z)
        return super().surrogate(loss, dist, noise) - losses.mean(dim=1) + losses.sum(dim=1)


class UpdatedBeforeUse(Reinforce):
    """The moving average takes in the sample before it serves as that sample's baseline."""

    def advantage(self, losses, loss, dist, z):
        self.baseline.update(losses)
        return losses - self.baseline.before(lambda: losses.mean())


class ScoreWithoutMean(Reinforce):
    """The score is ``D`` instead of ``D - p``: the normaliser is not differentiated."""

    def surrogate(self, loss, dist, noise):
        z = dist.hard(noise)
        losses = loss(z)
        log_prob = (z * dist.alpha[:, None]).sum(dim=(-2, -1))
        return losses.mean(dim=1) + score_term(losses.detach(), log_prob).mean(dim=1)


class SampleNotDetached(Reinforce):
    """The sample in ``log p(Z)`` carries the gradient of its relaxation."""

    def surrogate(self, loss, dist, noise):
        hard = dist.hard(noise)
        z = straight_through(hard, dist.perturb(noise).softmax(dim=-1))
        losses = loss(hard)
        score = score_term(losses.detach(), dist.log_prob(z).sum(dim=-1))
        return (losses + score).mean(dim=1)


class FlatterSampling(Reinforce):
    """Samples come from ``softmax(alpha / 1.05)``, scores from ``softmax(alpha)``."""

    def surrogate(self, loss, dist, noise):
        index = (dist.log_probs[:, None] / 1.05 + noise).detach().argmax(dim=-1)
        z = one_hot(index, dist.num_operations, dist.dtype)
        losses = loss(z)
        score = score_term(losses.detach() - losses.detach().mean(), dist.log_prob(z).sum(dim=-1))
        return (losses + score).mean(dim=1)


class ThetaAtTheMean(Reinforce):
    """Theta gets the gradient at the probabilities instead of at the draw."""

    def surrogate(self, loss, dist, noise):
        hard = dist.hard(noise)
        with torch.no_grad():
            losses = loss(hard)
        score = score_term(losses, dist.log_prob(hard).sum(dim=-1))
        return (loss(dist.probs[:, None].detach()) + score).mean(dim=1)


class BetterOfSampleAndMode(SelfCritical):
    """The baseline is the better one of sample and mode."""

    def advantage(self, losses, loss, dist, z):
        return losses - torch.minimum(losses, loss(dist.mode()[:, None]).detach())


class UncentredCovariance(VarGrad):
    """The covariance is divided by n instead of n - 1."""

    def surrogate(self, loss, dist, noise):
        value = super().surrogate(loss, dist, noise)
        plain = loss(dist.hard(noise)).mean(dim=1)
        return plain + (value - plain) * ((self.n - 1) / self.n)


class EntropyPenalty(ENAS):
    """The entropy enters with the wrong sign."""

    def cost(self, losses, loss, dist, z):
        return 2 * losses - super().cost(losses, loss, dist, z)


class EntropyGradientLost(ENAS):
    """The entropy of the law is added to the cost as a number: its gradient is lost."""

    def cost(self, losses, loss, dist, z):
        return losses + dist.log_prob(z).detach().sum(dim=-1).mean() * self.entropy_weight


class GivenDetached(REBAR):
    """``z~`` does not depend on alpha."""

    def surrogate(self, loss, dist, noise):
        hard, tau = dist.hard(noise[0]), self.log_tau.exp()
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        free = through_weights(loss, (dist.perturb(noise[0]) / tau).softmax(dim=-1), False)
        z = dist.conditional(hard, noise[1])
        given = through_weights(loss, (z / tau).softmax(dim=-1), False).detach()
        control = self.eta * (free - given)
        score = score_term(losses.detach() - self.eta * given, log_prob)
        return (losses + score + (control - control.detach())).mean(dim=1)


class Decoupled(REBAR):
    """``z~`` is drawn without regard to the sample: still unbiased, but no control variate."""

    def surrogate(self, loss, dist, noise):
        hard, tau = dist.hard(noise[0]), self.log_tau.exp()
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        other = dist.perturb(-noise[1].log())
        free, given = (
            through_weights(loss, (z / tau).softmax(dim=-1), False)
            for z in (dist.perturb(noise[0]), other)
        )
        control = self.eta * (free - given)
        score = score_term(losses.detach() - self.eta * given, log_prob)
        return (losses + score + (control - control.detach())).mean(dim=1)


class UnnormalisedConditional(REBAR):
    """``z~`` is drawn as if the logits were log-probabilities."""

    def surrogate(self, loss, dist, noise):
        hard, tau = dist.hard(noise[0]), self.log_tau.exp()
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        winner = (noise[1] * hard).sum(dim=-1, keepdim=True)
        others = -(noise[1] * (-dist.alpha[:, None] - 1.0).exp() + winner).log()
        z = torch.where(hard > 0, -winner.log(), others)
        free, given = (
            through_weights(loss, (x / tau).softmax(dim=-1), False)
            for x in (dist.perturb(noise[0]), z)
        )
        control = self.eta * (free - given)
        score = score_term(losses.detach() - self.eta * given, log_prob)
        return (losses + score + (control - control.detach())).mean(dim=1)


class ControlNotReturned(RELAX):
    """The control variate is subtracted in the score, and its gradient is not added back."""

    def surrogate(self, loss, dist, noise):
        hard = dist.hard(noise[0])
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        given = self.control(dist.conditional(hard, noise[1])).detach()
        return (losses + score_term(losses.detach() - given, log_prob)).mean(dim=1)


class MeanTermMissing(MuProp):
    """The expansion is subtracted, and the gradient of its mean is not added back."""

    def surrogate(self, loss, dist, noise):
        hard, probs = dist.hard(noise), dist.probs[:, None]
        losses, log_prob = loss(hard), dist.log_prob(hard).sum(dim=-1)
        mean = probs.detach().requires_grad_()
        at_mean = loss(mean)
        (slope,) = torch.autograd.grad(at_mean.sum(), mean)
        expansion = at_mean.detach() + (slope * (hard - mean.detach())).sum(dim=(-2, -1))
        return (losses + score_term(losses.detach() - expansion, log_prob)).mean(dim=1)


class EdgesNotReweighted(LocalExpectation):
    """A random subset of edges counts as if it were all of them."""

    def surrogate(self, loss, dist, noise):
        value = super().surrogate(loss, dist, noise)
        plain = loss(dist.hard(noise[0])).mean(dim=1)
        return plain + (value - plain) * (noise[1].shape[-1] / dist.num_edges)


class NaiveWeights(UnorderedSet):
    """Draws without replacement are weighted by their renormalised probabilities."""

    def surrogate(self, loss, dist, noise):
        log_probs = dist.logits.detach().log_softmax(dim=-1)
        z = one_hot(gumbel_top_k(log_probs, noise), dist.num_operations, dist.dtype)
        probs = (z * log_probs[:, None]).sum(dim=(-2, -1)).exp()
        weight = probs / probs.sum(dim=1, keepdim=True)
        losses = loss(z)
        baseline = (weight * losses.detach()).sum(dim=1, keepdim=True)
        score = score_term(losses.detach() - baseline, dist.log_prob(z).sum(dim=-1))
        return (weight * (losses + score)).sum(dim=1)


class RestNotWeighted(SumAndSample):
    """The sampled architecture counts fully instead of with the probability of the rest."""

    def surrogate(self, loss, dist, noise):
        value = super().surrogate(loss, dist, noise)
        return value + value - value.detach()


class WrongFactor(ARSM):
    """The factor is ``1 - K pi`` divided by ``K - 1`` instead of ``K``."""

    def surrogate(self, loss, dist, noise):
        value = super().surrogate(loss, dist, noise)
        plain = loss(dist.hard(noise)).mean(dim=1)
        k = dist.num_operations
        return plain + (value - plain) * (k / (k - 1))


class TemperatureOnTheNoise(SNAS):
    """The temperature divides the noise instead of the perturbed logits."""

    def relax(self, dist, noise):
        return (dist.log_probs[:, None] + noise / self.tau).softmax(dim=-1)


class TemperatureMissing(STGumbel):
    """The relaxation of the backward pass has temperature one."""

    def relax(self, dist, noise):
        return straight_through(dist.hard(noise), dist.perturb(noise).softmax(dim=-1))


class Unmasked(GDAS):
    """Operations that were not drawn pass gradients too."""

    needs_all_operations = True

    def relax(self, dist, noise):
        soft = (dist.perturb(noise) / self.tau).softmax(dim=-1)
        return straight_through(dist.hard(noise), soft)


class CreditOfAllOperations(DSNAS):
    """The credit is that of the mean operation instead of the drawn one."""

    needs_all_operations = True

    def relax(self, dist, noise):
        z = dist.hard(noise)
        log_prob = dist.log_prob(z)[..., None]
        return z + dist.probs[:, None].detach() * (log_prob - log_prob.detach())


class NoiseDifferentiated(GumbelRao):
    """The conditional noise is differentiated as a function of alpha, too."""

    def relax(self, dist, noise):
        hard = dist.hard(noise[0])
        repeated = hard.repeat_interleave(self.samples, dim=1)
        soft = (dist.conditional(repeated, noise[1]) / self.tau).softmax(dim=-1)
        mean = soft.view(len(hard), self.n, self.samples, *hard.shape[2:]).mean(dim=2)
        return straight_through(hard, mean)


class FirstOrderOnly(ReinMax):
    """The correction by half the straight-through gradient is left out."""

    def relax(self, dist, noise):
        hard, logits = dist.hard(noise), dist.log_probs[:, None]
        middle = (logits.detach().softmax(dim=-1) + hard) / 2
        heun = (middle.log() + (logits - logits.detach())).softmax(dim=-1)
        return straight_through(hard, 2 * heun)


def with_baseline(estimator: Estimator, value: float) -> Estimator:
    """Return ``estimator`` with its moving average set to ``value``."""
    for module in estimator.modules():
        if isinstance(module, MovingAverage):
            module.value.fill_(value)
    return estimator


def with_random_network(estimator: RELAX, size: int) -> RELAX:
    """Return ``estimator`` with a control variate that is not zero."""
    generator = torch.Generator().manual_seed(0)
    estimator._initialise(size, generator)
    with torch.no_grad():
        for parameter in estimator.network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.7 * noise.to(parameter.dtype))
    return estimator


def jacobian(q: Tensor, h: Tensor) -> Tensor:
    """Return ``J(q) h = q * (h - <q, h>)``, rows of the last axis."""
    return q * (h - (q * h).sum(dim=-1, keepdim=True))
