"""Which of the package's extras brings a module that the light core does without."""

from collections.abc import Callable
from typing import Any

from bert_jax.errors import UserError

EXTRA_OF = {
    "aiohttp": "buckets",
    "array_record": "data",
    "fsspec": "buckets",
    "gcsfs": "buckets",
    "grain": "data",
    "importlib_resources": "data",
    "matplotlib": "data",
    "numba": "data",
    "s3fs": "buckets",
    "plotly": "report",
    "pyarrow": "data",
    "sklearn": "tasks",
    "tensorboardX": "tensorboard",
    "tensorflow_datasets": "data",
}


def raises(error: ModuleNotFoundError) -> Callable[..., Any]:
    """A stand-in for what the missing module would have made: raises `error` when called."""
    missing = ModuleNotFoundError(str(error), name=error.name)  # without the frames of `error`

    def stand_in(*arguments: Any, **named: Any) -> Any:
        raise missing

    return stand_in


def named_extra(error: ModuleNotFoundError) -> UserError | None:
    """The one line that says which extra brings the missing module; None where none does."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRA_OF:
        return None
    return UserError(
        f"got no module {module}; expected it to be installed:"
        f" python3 -m pip install -c constraints.txt -e '.[{EXTRA_OF[module]}]'"
    )
