"""The command line ``nasbench``: one module a command. Nothing here imports torch at the top."""
