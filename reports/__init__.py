"""Built-in reports, imported as ``nasbench_snas.reports``."""

if __name__ != "nasbench_snas.reports":
    raise ImportError(f"import it as nasbench_snas.reports, not as {__name__}")

__all__ = [
    "build",
    "draw",
    "figures",
    "gradients",
    "landscape",
    "render",
    "tables",
    "write",
]
