"""What a test of a public tool says when it fails: the version found and what was relied on."""

from importlib.metadata import PackageNotFoundError, version


def relied_on(package: str, what: str) -> str:
    """Return the message of an assertion about ``package``."""
    try:
        found = version(package)
    except PackageNotFoundError:
        found = "(not installed)"
    return f"{package} {found} behaves otherwise than relied on: {what}"
