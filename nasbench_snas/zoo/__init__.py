"""Published cells as JSON files; read by :mod:`nasbench_snas.genotype_zoo`."""
