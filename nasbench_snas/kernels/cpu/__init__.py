"""The C++ kernels: sources, compilation at first use, and the backend that calls them."""
