"""The settings of one deployment: typed, validated, from the environment (`MLOPS_…`) or a `.env` file.

docs/settings.md lists every one of them; a test keeps the two the same.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlops_assets.errors import SettingsError

PACKAGE = Path(__file__).parent


def _default_defs() -> Path:
    """The package's own defs/ in a source checkout, else ./defs: site-packages is nobody's project."""
    return PACKAGE / "defs" if (PACKAGE.parent / "pyproject.toml").exists() else Path("defs")


class Settings(BaseSettings):
    """One deployment's settings; every field is the environment variable `MLOPS_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="MLOPS_", env_file=".env", extra="ignore", frozen=True)

    platform: Literal["local", "aws", "gcp"] = Field(
        default="local", description="Where everything runs: `local`, `aws` or `gcp`."
    )
    root: Path = Field(
        default=Path(".mlops"),
        description="Folder of the local platform: objects, warehouse, registry, endpoints, history.",
    )
    defs: Path = Field(
        default_factory=_default_defs,
        description="Folder with one folder per model, each with its defs.yaml. Default: the checkout's "
        "mlops_assets/defs, or ./defs where the package is installed.",
    )
    executor: Literal["in_process", "multiprocess"] = Field(
        default="in_process",
        description="Executor of the models' jobs: `in_process` (fast start) or `multiprocess`.",
    )
    automation: bool = Field(
        default=False,
        description="Turn the landing sensors and declarative automation on as soon as they load.",
    )
    force: bool = Field(default=False, description="Run every stage even where nothing changed.")
    sensor_batch: int = Field(
        default=200, ge=1, le=10_000, description="Objects that a landing sensor starts per tick, at most."
    )
    sensor_sweep: int = Field(
        default=500,
        ge=0,
        description="Known keys that a landing sensor re-checks per tick for late or rewritten objects.",
    )
    sensor_interval: int = Field(
        default=30, ge=1, description="Seconds between two ticks of a landing sensor, at least."
    )
    trusted_types: tuple[str, ...] = Field(
        default=(),
        description="Types, by full name, that a model file may hold beside those shipped as trusted; "
        "a JSON list, never read from a model.",
    )
    allowed_estimators: tuple[str, ...] = Field(
        default=(),
        description="Import paths of estimators beside scikit-learn's own that a declaration may name; "
        "a JSON list.",
    )
    gate_key: SecretStr | None = Field(
        default=None,
        description="Key that seals decision records (at least 32 characters). Default: made once, kept in "
        "`<root>/gate.key`, readable by its owner alone.",
    )
    endpoint_host: str = Field(default="127.0.0.1", description="Address that model servers bind to.")
    endpoint_timeout: float = Field(
        default=60.0, gt=0, description="Seconds that a new model server has to become healthy."
    )
    endpoint_token: SecretStr | None = Field(
        default=None, description="Bearer token that model servers ask for on /invocations; none by default."
    )
    endpoint_body_limit: int = Field(
        default=6_291_456,
        ge=1_024,
        description="Bytes that the body of one request to a model server may have.",
    )
    memory_limit: str = Field(
        default="2GB",
        pattern=r"^\d+(MB|GB)$",
        description="Memory of the embedded warehouse, e.g. `2GB`; much data has a process of its own.",
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of the embedded warehouse; default: every core."
    )

    @field_validator("root", "defs")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @property
    def parse_cache(self) -> Path:
        """Folder of what parsing unchanged SQL gave before; it can be deleted at any time."""
        return self.root / "cache" / "sql"

    def seal_key(self) -> bytes:
        """The key that seals decision records; made on first use where none is set.

        Raises:
            SettingsError: for a key of fewer than 32 characters.
        """
        if self.gate_key is not None:
            key = self.gate_key.get_secret_value()
            if len(key) < 32:
                raise SettingsError("MLOPS_GATE_KEY is too short.", mend="Set at least 32 random characters.")
            return key.encode()
        path = self.root / "gate.key"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make_key(path)
        return path.read_bytes()

    @staticmethod
    def _make_key(path: Path) -> None:
        """Write a new key aside and link it into place: whoever comes second finds the first one's, whole."""
        aside = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()


def load_settings() -> Settings:
    """The settings of this process, read again at every call.

    Raises:
        SettingsError: naming each wrong variable, its value's problem and the mend.
    """
    return read_settings(Settings)


class CloudSettings(BaseSettings):
    """What the settings of every cloud can do."""

    def needed(self, field: str) -> str:
        """The value of an optional setting, where a job cannot do without it.

        Raises:
            SettingsError: where it is not set.
        """
        value = getattr(self, field)
        if value is None:
            kind = type(self)
            raise SettingsError(
                f"{kind.model_config.get('env_prefix', '')}{field.upper()} is not set.",
                where="environment or .env",
                mend=f"Set it: {kind.model_fields[field].description}",
            )
        return value


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """Settings of a kind, from the environment or `.env`.

    Raises:
        SettingsError: naming each wrong variable, its value's problem and the mend.
    """
    prefix = kind.model_config.get("env_prefix", "")
    try:
        return kind()
    except ValidationError as error:
        lines = [
            f"{prefix}{'_'.join(str(part) for part in item['loc'][:1]).upper()}: {item['msg']}"
            for item in error.errors()
        ]
        raise SettingsError(
            "; ".join(lines), where="environment or .env", mend="See docs/settings.md for what each takes."
        ) from None


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()
