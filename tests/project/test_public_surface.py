"""What is public: the names of the package, the names for authors of plug-ins, nothing else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nasbench_snas
from nasbench_snas import api

PACKAGE = {
    "RetrainResult",
    "SearchResult",
    "StudyResult",
    "__version__",
    "compare_gradients",
    "estimate",
    "figures",
    "load",
    "load_results",
    "make_estimator",
    "retrain",
    "search",
    "study",
}
FOR_PLUG_INS = {
    "AnnealedPathwise",
    "CandidateOperation",
    "Categorical",
    "Conv",
    "CostCriterion",
    "DerivationRule",
    "DeriveRule",
    "Distribution",
    "EarlyStop",
    "EpochState",
    "Estimator",
    "Genotype",
    "ImageDataset",
    "Images",
    "Loss",
    "LossStep",
    "LossTransformer",
    "OperationCost",
    "Pathwise",
    "RULES",
    "Role",
    "RuleWork",
    "ScheduleKind",
    "Score",
    "SearchState",
    "Space",
    "SpaceFamily",
    "Verdict",
    "anneal",
    "gumbel",
    "loss_at",
    "loss_plus",
    "one_hot",
    "score_term",
    "straight_through",
}


def test_the_package_offers_these_names_and_no_others() -> None:
    assert set(nasbench_snas.__all__) == PACKAGE
    assert set(dir(nasbench_snas)) == PACKAGE
    for name in PACKAGE:
        assert getattr(nasbench_snas, name) is not None


def test_type_checkers_see_the_same_names() -> None:
    stub = ast.parse((Path(nasbench_snas.__file__).parent / "__init__.pyi").read_text())
    imported = {a.asname for n in stub.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported | {"__version__"} == PACKAGE


def test_authors_of_plug_ins_are_offered_these_names_and_no_others() -> None:
    assert set(api.__all__) == FOR_PLUG_INS
    for name in FOR_PLUG_INS:
        assert getattr(api, name) is not None


def test_importing_the_package_brings_in_neither_torch_nor_numpy() -> None:
    code = "import sys, nasbench_snas; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
