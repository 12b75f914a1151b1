"""The directions in which a softmax's gradient can differ from zero.

Adding a constant to the K logits of an edge changes nothing, so each edge's gradient sums to zero
and its K coordinates hold K - 1 numbers. A test in the full space would meet a singular covariance;
in this basis, of dimension E (K - 1), it does not.
"""

from __future__ import annotations

import numpy as np
import scipy

from nasbench_snas.errors import ConfigError
from nasbench_snas.stats.interval import FloatArray


def zero_sum_basis(n_edges: int, n_ops: int) -> FloatArray:
    """Return an orthonormal basis of the gradients that sum to zero on every edge.

    Args:
        n_edges: E, rows of the logits.
        n_ops: K >= 2, columns of the logits.

    Returns:
        Basis, shape ``(E K, E (K - 1))``, orthonormal columns (Helmert contrasts edge by edge), for
        logits of shape ``(E, K)`` flattened row by row.
    """
    if n_edges < 1 or n_ops < 2:
        raise ConfigError(f"{n_edges} edges with {n_ops} operations", "expected E >= 1 and K >= 2")
    return np.asarray(np.kron(np.eye(n_edges), scipy.linalg.helmert(n_ops).T), dtype=np.float64)


def coordinate_groups(
    n_edges: int, n_ops: int
) -> dict[str, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return index arrays of every edge (``edge e``) and every operation (``op k``).

    Args:
        n_edges: E.
        n_ops: K.

    Returns:
        Name to indices into logits ``(E, K)`` flattened row by row.
    """
    grid = np.arange(n_edges * n_ops, dtype=np.intp).reshape(n_edges, n_ops)
    groups = {f"edge {e}": grid[e].copy() for e in range(n_edges)}
    groups.update({f"op {k}": grid[:, k].copy() for k in range(n_ops)})
    return groups
