"""One job's container on SageMaker: /opt/ml a folder of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlops_assets_tests.standins import container
from mlops_assets_tests.standins.container import Exit, Order, isolated

__all__ = ["OPT_ML", "Container", "Exit", "Order", "isolated"]

OPT_ML = "/opt/ml"
_ENTER = (
    f"[ -d {OPT_ML} ] || {{ mount -t tmpfs tmpfs /opt && mkdir {OPT_ML}; }} && "
    f'mount --bind "$0" {OPT_ML} && exec "$@"'
)


class Container(container.Container):
    """A running command.

    Where namespaces are refused, `SAGEMAKER_BASE_DIR` names the folder instead, as SageMaker's own toolkit
    has it.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        opt_ml: Path,
        report: Callable[[str], None],
    ) -> None:
        extra = {} if container.isolated() else {"SAGEMAKER_BASE_DIR": str(opt_ml)}
        super().__init__(command, {**environment, **extra}, opt_ml, report, _ENTER)
