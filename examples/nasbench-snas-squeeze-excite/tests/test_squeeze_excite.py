"""The conformance checks of ``squeeze-excite``; further tests of your own belong here too."""

from nasbench_snas_squeeze_excite.squeeze_excite import SqueezeExcite
from nasbench_snas.testing import OperationConformance


class TestSqueezeExcite(OperationConformance):
    operation = SqueezeExcite
