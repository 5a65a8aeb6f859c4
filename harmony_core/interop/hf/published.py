"""A `config.json` as it is published, read without running what its repository has of code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.library import transformers
from harmony_core.interop.hf.loading import SAME_AS, architecture_from_config, renamed
from harmony_core.interop.hf.unsupported import refusal
from harmony_core.plugins import find


def architecture_from_file(path: Path | str) -> Architecture:
    """The architecture that a `config.json` describes, or that of the folder it lies in.

    Its class is the one that the installed `transformers` has for its `model_type`, whatever code the file asks for.

    Args:
        path: the file, or a folder with one.

    Raises:
        UserError: as `architecture_from_config`; or there is no such file, or it is no configuration.
    """
    values = _read(Path(path))
    model_type = values["model_type"]
    # A family of another distribution may bring its class.
    find("families", model_type, FAMILIES)
    if model_type not in SAME_AS and model_type not in transformers().CONFIG_MAPPING:
        raise UserError("model_type", model_type, refusal(model_type, FAMILIES))
    return architecture_from_config(_config(values, path))


def _config(values: dict[str, Any], path: Path | str) -> Any:
    try:
        return renamed(values)
    except UserError:
        raise
    except Exception as error:
        # A class of configuration computes with what it is given, and errs as that goes wrong; some say it on several
        # lines.
        words = " ".join(str(error).split())
        fix = f"{type(error).__name__} ({words}); give a config.json that transformers reads"
        raise UserError("file", path, fix) from None


def _read(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError("file", file, f"{error.strerror}; name a config.json, or a folder that has one") from None
    except (ValueError, RecursionError) as error:
        raise UserError("file", file, f"not JSON ({error}); give a config.json of transformers") from None
    if not isinstance(values, dict) or not isinstance(values.get("model_type"), str):
        raise UserError("file", file, "it has no model_type; give a config.json of transformers")
    return values
