import pytest

from nasbench_snas.kernels import select_backend
from nasbench_snas.kernels.cpu import build


@pytest.fixture(scope="session", params=["reference", "cpu"])
def kernels(request):
    if request.param == "cpu" and build.missing_compiler():
        pytest.skip(f"compiled kernels: {build.missing_compiler()}")
    return select_backend(request.param)[0]


@pytest.fixture(scope="session")
def compiled():
    if build.missing_compiler():
        pytest.skip(f"compiled kernels: {build.missing_compiler()}")
    return select_backend("cpu")[0]
