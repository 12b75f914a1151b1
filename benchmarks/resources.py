"""What the Triton kernels use on four compute capabilities, and the prediction for an H100.

``python benchmarks/resources.py``: compiles every kernel of a soft step of the paper's parent ahead
of time (some minutes) and prints both tables of the page "Proving a GPU". Needs no GPU; nothing is
measured.
"""

from __future__ import annotations

import sys

from nasbench_snas.prove.predict import predict, resource_table, resources, table
from nasbench_snas.spaces.darts_cnn import DartsCNN

BATCH, RESOLUTION = 64, 32


def main() -> None:
    """Print both tables."""
    space = DartsCNN(cells=8, channels=16).build(3, 10, RESOLUTION)
    sys.stdout.write(table(*predict(space, BATCH)) + "\n")
    sys.stdout.flush()
    sys.stdout.write(resource_table(resources(space, BATCH)))


if __name__ == "__main__":
    main()
