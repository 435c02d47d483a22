"""The user's own training program: `train(train, validation, parameters) -> estimator` in `code/`.

Both frames hold the features as models take them (numbers, bools and times as float64 with NaN, text as
objects with None) and the target column. What it returns is fitted on the features, has `predict` (and
`predict_proba` for probabilities), and is stored with skops like any other model.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from mlops_assets.errors import DeclarationError, JobFailedError, MlopsAssetsError
from mlops_assets.runtime.frames import Frame
from mlops_assets.runtime.program import Request
from mlops_assets.runtime.signature import Feature


def train_by_program(request: Request, fit: Frame, check: Frame, target: Feature) -> Any:
    """What the user's `train()` returns.

    Raises:
        JobFailedError: where the program raised, with its line.
        DeclarationError: where it defines no `train` or returns no estimator.
    """
    name = request.arguments["program"]
    try:
        function = _load_program(request.code, name)
        parts = (frame.x.assign(**{target.name: frame.y}) for frame in (fit, check))
        estimator = function(*parts, dict(request.arguments.get("parameters", {})))
    except MlopsAssetsError:
        raise
    # Whatever a user's program raises is reported as it is, with its own line.
    except Exception as error:
        traceback.print_exc()
        raise JobFailedError(
            f"{name} raised {type(error).__name__}: {error}",
            where=_line_of(error, name),
            mend=f"Correct {name}.",
        ) from error
    if not hasattr(estimator, "predict"):
        raise DeclarationError(
            f"train() returned {type(estimator).__name__}, which has no predict.",
            where=name,
            mend="Return the fitted estimator or pipeline.",
        )
    return estimator


def _load_program(folder: Path, name: str) -> Any:
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(Path(name).stem, folder / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, "train", None)
    if not callable(function):
        raise DeclarationError(
            "There is no function train.",
            where=name,
            mend="Define train(train, validation, parameters) -> estimator.",
        )
    return function


def _line_of(error: BaseException, name: str) -> str:
    if isinstance(error, SyntaxError):
        return f"{name}, line {error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name == name
    ]
    return f"{name}, line {lines[-1]}" if lines else name
