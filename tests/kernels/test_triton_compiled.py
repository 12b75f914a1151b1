"""Triton kernels, compiled ahead of time for four architectures without a GPU."""

import pytest
import torch

pytest.importorskip("triton")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "part"), [(90, (0, 2)), (80, (1, 4)), (100, (1, 2)), (120, (2, 4))]
)
def test_compiled_ahead_of_time_no_kernel_spills(capability, part, record_property):
    """Every variant of a kernel for 9.0 or 10.0, and half of them for another one."""
    from nasbench_snas.prove import ahead

    assert capability in ahead.CAPABILITIES
    first, step = part
    for channels, dtype in ((16, torch.float32), (64, torch.bfloat16)):
        for variant in ahead.variants(channels, dtype)[first::step]:
            used = ahead.compile_kernel(variant, capability)
            record_property(f"{used.kernel}-{channels}-{dtype}", str(used))
            assert used.stack == 0 and used.local == 0, used
            assert 0 < used.registers <= 255 and used.shared <= 99 * 1024, used
