"""Built-in estimators, imported as ``nasbench_snas.estimators``."""

if __name__ != "nasbench_snas.estimators":
    raise ImportError(f"import it as nasbench_snas.estimators, not as {__name__}")
