"""The model registry on one machine: MLflow's, in one SQLite file below the root, without a server.

`mlflow ui --backend-store-uri sqlite:///<root>/mlflow.db` shows it. A version's record and its approval are
tags, sealed with the gate key; the approval is written last and commits the version. MLflow itself is
imported for writing alone.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from mlops_assets.artifacts import Candidate, Decision, Evaluation, ModelVersion
from mlops_assets.artifacts.decisions import sign
from mlops_assets.artifacts.digest import canonical_json
from mlops_assets.artifacts.values import Approval, now
from mlops_assets.errors import ArtifactError, ConflictError
from mlops_assets.platforms.local.mlflow_file import MlflowFile, VersionRow
from mlops_assets.platforms.local.mlflow_run import log_run, version_tags
from mlops_assets.platforms.local.scratch import sync_file
from mlops_assets.platforms.model_registry import ModelRegistry
from mlops_assets.platforms.registry_records import version_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops_assets.platforms.ports import ObjectStore
    from mlops_assets.settings import Settings

CHAMPION = "champion"
CANDIDATE = "mlops.candidate"
RECORD = "mlops.record"
APPROVAL = "mlops.approval"
CHAMPIONS = "mlops.champions"

_LOCK_SECONDS = 120.0
_EVENTS_KEPT = 100
_log = logging.getLogger(__name__)


class MlflowRegistry(ModelRegistry):
    """Versions in MLflow's SQLite store; artifacts stay where the object store has them.

    Args:
        settings: gives the root and the key that seals records.
        store: holds the candidates' files.
    """

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        super().__init__(store, settings.seal_key())
        self._file = MlflowFile(settings.root / "mlflow.db")
        # One lock for all models: SQLite takes one writer at a time anyway.
        self._lock = FileLock(settings.root / "mlflow.lock", timeout=_LOCK_SECONDS)
        self._opening = threading.Lock()
        self._opened: MlflowClient | None = None
        self._warming: threading.Thread | None = None

    @property
    def tracking_uri(self) -> str:
        """What MLflow calls this registry: for `mlflow ui --backend-store-uri`."""
        return f"sqlite:///{self._file.path}"

    def console(self, model: str) -> str:
        """The command that shows the registry in a browser."""
        return f"mlflow ui --backend-store-uri {self.tracking_uri}  # then open Models, {model}"

    def warm(self) -> None:
        """Import MLflow in a thread, for instance while a model trains.

        Its tables are not made there: alembic keeps the migration under way in globals, and Dagster's own
        storage may be migrating in the main thread at that moment.
        """
        if self._opened is None and self._warming is None:
            _import_mappers()
            self._warming = threading.Thread(target=_import_mlflow, name="mlflow-warm")
            self._warming.start()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Open MLflow's file in a thread while the body waits for something else; it is open at the end.

        The body must run no migration of Dagster's: alembic keeps the one under way in globals.
        """
        _import_mappers()
        thread = threading.Thread(target=self._open_ahead, name="mlflow-open")
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _open_ahead(self) -> None:
        try:
            self._client()
        except Exception as error:  # raised again to whoever writes, not in a thread that nobody watches
            _log.debug("MLflow could not be opened in advance: %s", error)

    # --- reading ------------------------------------------------------------------------------------------

    def find(self, model: str, candidate_digest: str) -> ModelVersion | None:
        """The version registered for this candidate, or None."""
        rows = self._file.rows(model, tag=(CANDIDATE, candidate_digest))
        return next((version for row in rows if (version := self._version(row)) is not None), None)

    def versions(self, model: str | None = None) -> Sequence[ModelVersion]:
        """All versions, newest first, of one model or of all; edited ones are logged and left out."""
        found: list[ModelVersion] = []
        for row in self._file.rows(model):
            try:
                version = self._version(row)
            except ArtifactError as error:
                _log.warning("%s", error)
            else:
                found += [version] if version is not None else []
        return found

    def _committed(self, model: str, version: int) -> ModelVersion | None:
        rows = self._file.rows(model, version=version)
        return self._version(rows[0]) if rows else None

    def _alias(self, model: str) -> int | None:
        return self._file.alias(model, CHAMPION)

    def _champions(self, model: str) -> list[int]:
        text = self._file.model_tag(model, CHAMPIONS) or "[]"
        try:
            return [int(number) for number in json.loads(text)]
        except (ValueError, TypeError):
            raise ArtifactError(
                f"The tag {CHAMPIONS} was edited.",
                where=model,
                mend="Set it to a JSON list of versions, oldest champion first.",
            ) from None

    def _version(self, row: VersionRow) -> ModelVersion | None:
        """The version in a row; None where it was never committed.

        Raises:
            ArtifactError: where its record or approval is not what was sealed.
        """
        if APPROVAL not in row.tags:
            return None
        try:
            approval = json.loads(row.tags[APPROVAL])
            if approval.pop("seal") != self._seal(row.model, row.version, row.tags[RECORD], approval):
                raise ValueError("seal")
            return ModelVersion(
                **json.loads(row.tags[RECORD]),
                model=row.model,
                version=row.version,
                approval=approval["state"],
                aliases=tuple(sorted(row.aliases)),
            )
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
            raise ArtifactError(
                "The registry's record was edited, or sealed with another gate key.",
                where=f"{row.model} version {row.version}",
                mend="Restore mlflow.db or the gate key (MLOPS_GATE_KEY, <root>/gate.key); or delete the "
                "version in MLflow and register its candidate again.",
            ) from None

    def _seal(self, model: str, version: int, record: str, approval: dict[str, Any]) -> str:
        return sign(canonical_json(["registry", model, version, record, approval]), self._gate_key)

    # --- writing ------------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Hold the registry against every other writer on this machine."""
        self._file.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = self._lock.acquire()
        except Timeout:
            raise ConflictError(
                f"Another process has held the registry for {_LOCK_SECONDS:.0f} s (wanted for {model}).",
                where=self._lock.lock_file,
                mend="Wait for the other run, or end it; the lock goes with its process.",
            ) from None
        with held:
            yield

    def _create(self, candidate: Candidate, evaluation: Evaluation, decision: Decision) -> int:
        client = self._client()
        tags = version_tags(self._store, candidate, evaluation, decision)
        record = version_record(candidate, evaluation, decision)
        tags |= {CANDIDATE: candidate.digest, RECORD: canonical_json(record)}
        left = self._file.rows(candidate.model, tag=(CANDIDATE, candidate.digest))
        if left:  # by a crash: its tags may come from an earlier decision
            for key, value in tags.items():
                client.set_model_version_tag(candidate.model, str(left[0].version), key, value)
            return left[0].version
        run = log_run(client, self._store, candidate, evaluation, tags)
        self._ensure_model(client, candidate.model)
        made = client.create_model_version(
            candidate.model,
            source=str(candidate.uri),
            run_id=run,
            tags=tags,
            description=f"{candidate.estimator}, trained on dataset {candidate.dataset_version[:12]}.",
            await_creation_for=0,
        )
        return int(made.version)

    def _crown(self, model: str, version: int, champions: Sequence[int]) -> None:
        client = self._client()
        client.set_registered_model_tag(model, CHAMPIONS, json.dumps(list(champions)))
        client.set_registered_model_alias(model, CHAMPION, str(version))

    def _mark(self, model: str, version: int, state: Approval, *, by: str, reason: str) -> None:
        self._write_approval(model, version, state, state, by=by, reason=reason)

    def _note(self, model: str, version: int, event: str, *, by: str, reason: str) -> None:
        self._write_approval(model, version, None, event, by=by, reason=reason)

    def _write_approval(
        self, model: str, version: int, state: Approval | None, event: str, *, by: str, reason: str
    ) -> None:
        """One sealed tag holds the state and who did what: neither changes without the other."""
        (row,) = self._file.rows(model, version=version)
        before = json.loads(row.tags.get(APPROVAL, "{}"))
        entry = {"event": event, "by": by, "reason": reason, "at": now().isoformat(timespec="seconds")}
        events = [*before.get("events", []), entry][-_EVENTS_KEPT:]
        approval = {"state": state or before["state"], "events": events}
        sealed = approval | {"seal": self._seal(model, version, row.tags[RECORD], approval)}
        self._client().set_model_version_tag(model, str(version), APPROVAL, json.dumps(sealed))

    def _ensure_model(self, client: MlflowClient, model: str) -> None:
        if not client.search_registered_models(f"name = '{model}'", max_results=1):
            client.create_registered_model(model, description="Kept by mlops_assets; its tags are sealed.")

    # --- MLflow -------------------------------------------------------------------------------------------

    def _client(self) -> MlflowClient:
        """MLflow's client; the first call imports MLflow and makes its file, which takes seconds."""
        with self._opening:
            if self._opened is None:
                if self._warming is not None:
                    self._warming.join()  # two threads that import one package can each find it half imported
                _quiet()
                from mlflow import MlflowClient

                # A lock of its own: whoever writes holds the registry's, and waits for the thread that warms.
                with FileLock(f"{self._file.path}.new.lock"):
                    self._make_file()
                self._opened = MlflowClient(self.tracking_uri, self.tracking_uri)
            return self._opened

    def _make_file(self) -> None:
        """Make the tables in a file aside and rename it: no reader sees a registry without its tables."""
        path = self._file.path
        if path.exists():
            return
        from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
        from sqlalchemy import event

        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.new")
        aside.unlink(missing_ok=True)
        engine = create_sqlalchemy_engine(f"sqlite:///{aside}")
        # Half a hundred migrations: a file that counts only once it is whole needs one sync, not one each.
        event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
        try:
            _initialize_tables(engine)
        finally:
            engine.dispose()
        sync_file(aside)
        aside.replace(path)


def _quiet() -> None:
    """Before MLflow's import: no telemetry, no advice about its own server."""
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def _import_mappers() -> None:
    """Import what of SQLAlchemy MLflow uses and Dagster does not, before a thread imports MLflow.

    While this package is being imported, SQLAlchemy's other half calls into it: what Dagster's storage asks
    in another thread at that moment can fail.
    """
    import sqlalchemy.orm  # noqa: F401


def _import_mlflow() -> None:
    _quiet()
    try:
        import mlflow.store.db.utils
        import mlflow.tracking  # noqa: F401
    except ImportError as error:  # raised again to whoever writes, not in a thread that nobody watches
        _log.debug("MLflow could not be imported in advance: %s", error)
