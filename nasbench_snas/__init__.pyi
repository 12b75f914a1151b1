"""What type checkers and editors see: the public names, without the lazy imports."""

from nasbench_snas.evaluate.load import load as load
from nasbench_snas.functional import compare_gradients as compare_gradients
from nasbench_snas.functional import estimate as estimate
from nasbench_snas.functional import make_estimator as make_estimator
from nasbench_snas.interface import RetrainResult as RetrainResult
from nasbench_snas.interface import SearchResult as SearchResult
from nasbench_snas.interface import StudyResult as StudyResult
from nasbench_snas.interface import figures as figures
from nasbench_snas.interface import retrain as retrain
from nasbench_snas.interface import search as search
from nasbench_snas.interface import study as study
from nasbench_snas.runs.results import load_results as load_results

__version__: str
