"""The Python interface: searches, retrainings and studies as calls, typed results, figures.

Everything here is offered by the package itself and imported when it is first asked for:
``nasbench_snas.search``, ``nasbench_snas.retrain``, ``nasbench_snas.study`` and
``nasbench_snas.figures``. A call does what the command of that name does: the same plan, the same
identity, the same folder.
"""

from nasbench_snas.interface import figures
from nasbench_snas.interface.results import RetrainResult, SearchResult, StudyResult
from nasbench_snas.interface.retrainings import retrain
from nasbench_snas.interface.searches import search
from nasbench_snas.interface.studies import study

__all__ = [
    "RetrainResult",
    "SearchResult",
    "StudyResult",
    "figures",
    "results",
    "retrain",
    "search",
    "study",
]
