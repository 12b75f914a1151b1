"""A whole epoch of a search: steps, optimisers, data, augmentation, everything but validation."""

import pytest
from costs import bytes_of, flops

from nasbench_snas.registry import Registry
from nasbench_snas.search.plan import plan_run
from nasbench_snas.search.search import Search
from nasbench_snas.seeding import stream

SETTINGS = [
    "data.dataset=fake",
    "data.fake.train_images=80",
    "search.epochs=1",
    "search.batch_size=16",
    "space.nodes=2",
    "space.cells=3",
    "space.channels=4",
]


def search(device, kernels):
    plan = plan_run(Registry(), "snas", "darts-cnn", assignments=SETTINGS)
    return Search(plan.config, Registry(), device, kernels)


@pytest.mark.parametrize("kernels", ["plain", "reference", "cpu", "triton"])
def test_epoch(measure, device, why_not, kernels):
    if kernels == "triton" and device == "cpu":
        pytest.skip("Triton kernels need a CUDA device")
    if kernels == "cpu" and device != "cpu":
        pytest.skip("the compiled kernels run on CPU")
    if why := why_not(device, "reference" if kernels == "plain" else kernels):
        pytest.skip(why)
    work = search(device, kernels)
    steps = work.steps_per_epoch

    def epoch():
        for _ in range(steps):
            work.step = 0  # schedules stay where they are, whatever number of epochs is measured
            work.one_step()

    measure(epoch, device, costs=lambda: cost(steps), steps=steps, kernels=work.kernels)


def cost(steps):
    """Return bytes and operations of an epoch with one module for each candidate."""
    plain = search("cpu", "plain")
    images = next(iter(plain.valid_batches()))[0][:1].repeat(16, 1, 1, 1)
    noise = plain.estimator.noise(plain.dist, 1, stream(0, "benchmark"))
    z = plain.estimator.relax(plain.dist, noise).detach().flatten(0, -3)
    operations = flops(lambda: plain.parent(images, z))
    return steps * bytes_of(plain.one_step), steps * operations


def test_the_cost_of_an_epoch_grows_with_its_steps():
    one, two = cost(1), cost(2)
    assert 0 < 2 * one[0] == two[0] and 0 < 2 * one[1] == two[1]
