"""Bytes and operations of whole steps, on paper: counted once, outside the measurement."""

import importlib.util

from torch.utils.flop_counter import FlopCounterMode

from nasbench_snas.kernels.accounting import count_step, counting_kernels


def flops(forward):
    """Return the operations of a forward and backward pass: three times those of the former.

    Only products and convolutions count.
    """
    with FlopCounterMode(display=False) as counter:
        forward()
    return 3 * counter.get_total_flops()


def bytes_of(step, kernels=None):
    """Return the bytes of a step on CPU; ``kernels`` are a fast parent's counting kernels."""
    return count_step(step, kernels).bytes


def counting():
    """Return kernels that count, or None without Triton."""
    return counting_kernels() if importlib.util.find_spec("triton") else None
