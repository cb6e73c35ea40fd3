"""Find the direction in the residual stream that carries a behaviour, remove it from the weights, verify what was done.

The names of `unwrite.api` are offered here too and loaded on first use, so that `import unwrite` takes no time.
"""

from importlib import import_module

_API = "unwrite.api"  # by name: as an import statement it would make every stage depend on all that the API offers


def __getattr__(name: str) -> object:
    if not name.startswith("_"):
        api = import_module(_API)
        if name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(import_module(_API).__all__)
