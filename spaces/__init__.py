"""Built-in spaces, imported as ``nasbench_snas.spaces``."""

if __name__ != "nasbench_snas.spaces":
    raise ImportError(f"import it as nasbench_snas.spaces, not as {__name__}")
