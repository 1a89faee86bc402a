"""A working directory holds all a run makes, and the settings by which it may be continued."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bert_jax.errors import UserError
from experiments.command import write_json


def open_workdir(path: str, settings: Mapping[str, Any], may_change: Collection[str]) -> Path:
    """Make `path`, or check that what is there was made with the same settings.

    Args:
        path: the directory.
        settings: the resolved settings; written to `path/config.json` the first time.
        may_change: names of settings that do not change what is computed.

    Raises:
        UserError: a setting differs from the run that is there; nothing is changed. Or the
            directory cannot be written.
    """
    workdir = Path(path)
    saved = workdir / "config.json"
    settings = json.loads(json.dumps(settings))  # as it will be read back: tuples become lists
    if saved.exists():
        before = json.loads(saved.read_text())
        for name in settings.keys() | before.keys():
            if name not in may_change and settings.get(name) != before.get(name):
                raise UserError(
                    f"got --{name}={settings.get(name)}, but the run in {path} was started with"
                    f" --{name}={before.get(name)}; expected the same (to continue it) or another"
                    " --workdir (to start anew)"
                )
        return workdir
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(saved, settings)
    except OSError as error:
        raise UserError(
            f"got --workdir={path}, which cannot be written ({error.strerror}); expected a"
            " directory, or a place to make one"
        ) from error
    return workdir
