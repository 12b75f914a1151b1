"""What holds for all tests: the user's run store, data and plug-ins play no part."""

from __future__ import annotations

import os

for _name in ("NASBENCH_ROOT", "NASBENCH_PLUGINS", "NASBENCH_DATA"):
    os.environ.pop(_name, None)
