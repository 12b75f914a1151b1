"""``python -m nasbench_snas …`` is the command ``nasbench …`` (torchrun needs it)."""

from nasbench_snas.cli.main import main

if __name__ == "__main__":
    main()
