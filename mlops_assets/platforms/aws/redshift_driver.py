"""The transport over the network: redshift_connector, with its traps stepped around."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from mlops_assets.errors import SettingsError
from mlops_assets.platforms.aws.redshift_connection import (
    ConnectionLostError,
    RefusedLoginError,
    Rows,
    StatementError,
)
from mlops_assets.platforms.aws.redshift_credentials import Credentials
from mlops_assets.platforms.aws.redshift_settings import RedshiftSettings
from mlops_assets.platforms.costs import query

if TYPE_CHECKING:
    import redshift_connector

_REFUSED = ("28000", "28P01")
_TYPES = {
    16: "boolean", 20: "bigint", 21: "smallint", 23: "integer", 700: "real", 701: "double precision",
    1082: "date",    1114: "timestamp without time zone", 1184: "timestamp with time zone", 1700: "numeric",
}  # fmt: skip


class DriverTransport:
    """Connects to the endpoint that the settings name."""

    def __init__(self, settings: RedshiftSettings, credentials: Credentials) -> None:
        self._settings, self._credentials = settings, credentials

    @property
    def where(self) -> str:
        """Host, port and database."""
        return f"{self._settings.host}:{self._settings.port}/{self._settings.database}"

    def connect(self) -> DriverConnection:
        """A session of the driver's.

        The mode of TLS is always said: left out, the driver only warns of a certificate for another host.
        """
        import redshift_connector

        settings = self._settings
        if settings.host is None:
            raise SettingsError(
                "No endpoint is set.",
                where="MLOPS_REDSHIFT_HOST",
                mend="Set it to the cluster's or workgroup's endpoint, or MLOPS_REDSHIFT_TRANSPORT=data_api.",
            )
        login = self._credentials.login()
        tls = settings.sslmode != "disable"
        try:
            with _translated():
                made = redshift_connector.connect(
                    host=settings.host,
                    port=settings.port,
                    database=settings.database,
                    user=login.user,
                    password=login.password.get_secret_value(),
                    ssl=tls,
                    sslmode=settings.sslmode if tls else None,
                    timeout=settings.connect_timeout,
                    tcp_keepalive=True,
                    application_name="mlops_assets",
                    max_prepared_statements=0,  # it would keep the text of every statement there ever was
                )
        except StatementError as error:
            self._credentials.forget()
            if error.code in _REFUSED:
                raise RefusedLoginError(str(error)) from None
            raise
        # The time-out was for connecting; a statement may be silent for as long as it may run.
        with suppress(AttributeError, OSError):
            made._usock.settimeout(settings.statement_timeout + settings.connect_timeout)
        return DriverConnection(made)


class DriverConnection:
    """A session; used by one thread at a time, as the driver demands."""

    def __init__(self, connection: redshift_connector.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._cursor.paramstyle = "named"

    @query()
    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Run one statement; the rows are all held."""
        with _translated():
            self._cursor.execute(sql, dict(parameters) if parameters else None)
            described = self._cursor.description
            if not described:
                return Rows()
            names = [name.decode() if isinstance(name, bytes) else str(name) for name, *_ in described]
            return Rows(names, self._types(), list(self._cursor.fetchall()))

    def _types(self) -> list[str]:
        """The types of the result; the driver's own description leaves the digits of a numeric out."""
        found = []
        for item in (self._cursor.ps or {})["row_desc"]:
            kind = _TYPES.get(int(item["type_oid"]), "character varying")
            modifier = int(item["type_modifier"]) - 4
            digits = f"({modifier >> 16},{modifier & 0xFFFF})" if kind == "numeric" and modifier >= 0 else ""
            found.append(f"{kind}{digits}")
        return found

    def commit(self) -> None:
        """Commit."""
        with _translated():
            self._connection.commit()

    def rollback(self) -> None:
        """Roll back."""
        with _translated():
            self._connection.rollback()

    def close(self) -> None:
        """Close, whatever state it is in."""
        with suppress(Exception):
            self._connection.close()


@contextmanager
def _translated() -> Iterator[None]:
    """The driver's errors as ours, in the server's words: its own can hold values."""
    import redshift_connector

    try:
        yield
    except (redshift_connector.InterfaceError, OSError) as error:  # a time-out leaves the connection dead
        raise ConnectionLostError(_reason(error)) from None
    except redshift_connector.Error as error:
        fields = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        if not fields:
            raise ConnectionLostError(_reason(error)) from None
        raise StatementError(str(fields.get("M", "")), str(fields.get("C", ""))) from None


def _reason(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
