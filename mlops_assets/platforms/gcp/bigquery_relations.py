"""Relations of BigQuery by its API: datasets, tables, their columns; and widening them."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mlops_assets.artifacts import Column
from mlops_assets.errors import DataError
from mlops_assets.platforms.dialect_bigquery import encoded
from mlops_assets.platforms.gcp.bigquery import BigQuery
from mlops_assets.platforms.gcp.bigquery_layout import layout_of, types_of
from mlops_assets.platforms.gcp.bigquery_sql import beside, quote, quote_relation
from mlops_assets.platforms.gcp.bigquery_types import logical_type, parsed, schema_field
from mlops_assets.platforms.gcp.client import retry, speaking
from mlops_assets.platforms.sql import split_relation

if TYPE_CHECKING:
    from google.cloud.bigquery import Table

_NUMBERS = ("INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64")
_MOMENTS = ("DATE", "DATETIME", "TIMESTAMP")
_KEPT = timedelta(days=1)


class Relations:
    """What there is, and changing it; one call of the API each."""

    def __init__(self, bigquery: BigQuery) -> None:
        self._bigquery = bigquery
        self._datasets: set[str] = set()

    def reference(self, relation: str) -> str:
        """`project.dataset.table`, as the API takes it."""
        schema, table = split_relation(relation)
        return f"{self._bigquery.client.project}.{encoded(schema)}.{encoded(table)}"

    def make_dataset(self, relation: str, *, expires: bool = False) -> None:
        """Create the relation's dataset where it is missing; `expires`: its tables do, after a day."""
        from google.cloud.bigquery import Dataset, EncryptionConfiguration

        client, name = self._bigquery.client, encoded(split_relation(relation)[0])
        if name in self._datasets:
            return
        dataset = Dataset(f"{client.project}.{name}")
        dataset.location, dataset.labels = self._bigquery.location, self._bigquery.settings.labels
        if self._bigquery.kms_key:
            dataset.default_encryption_configuration = EncryptionConfiguration(self._bigquery.kms_key)
        if expires:
            dataset.default_table_expiration_ms = int(_KEPT.total_seconds() * 1_000)
        with speaking(relation):
            client.create_dataset(dataset, exists_ok=True, retry=retry())
        self._datasets.add(name)

    def find(self, relation: str) -> Table | None:
        """The table or view, or None where there is none."""
        from google.api_core.exceptions import NotFound

        with speaking(relation):
            try:
                return self._bigquery.client.get_table(self.reference(relation), retry=retry())
            except NotFound:
                return None

    def known(self, relation: str) -> Table:
        """The table or view, which is there."""
        table = self.find(relation)
        if table is None:
            raise DataError("The relation is gone.", where=relation, mend="Run it again.")
        return table

    def new(self, relation: str, types: Mapping[str, str], *, passing: bool = False) -> Table:
        """A table that is to be made; `passing`: one that expires should it be left behind."""
        from google.cloud.bigquery import Table

        schema = [schema_field(encoded(name), kind) for name, kind in types.items()]
        table = Table(self.reference(relation), schema=schema)
        if passing:
            table.expires = datetime.now(UTC) + _KEPT
        return table

    def create(
        self, relation: str, types: Mapping[str, str], *, cluster: Sequence[str] = (), passing: bool = False
    ) -> Table:
        """Create a table where it is missing, and its dataset."""
        self.make_dataset(relation)
        table = self.new(relation, types, passing=passing)
        if cluster:
            table.clustering_fields = [encoded(name) for name in cluster]
        with speaking(relation):
            return self._bigquery.client.create_table(table, exists_ok=True, retry=retry())

    def drop(self, relation: str) -> None:
        """Drop the relation, whichever kind it is, if any."""
        with speaking(relation):
            self._bigquery.client.delete_table(self.reference(relation), not_found_ok=True, retry=retry())

    def widen(self, relation: str, coming: Mapping[str, str], label: str) -> None:
        """Give a table the columns it lacks, and types that hold both what it has and what is coming.

        Raises:
            DataError: for a column that changed to a type with nothing in common.
        """
        table = self.known(relation)
        present = types_of(table)
        folded = {name.lower(): name for name in present}
        added = {name: kind for name, kind in coming.items() if name.lower() not in folded}
        wider = dict(present)
        for name, kind in coming.items():
            if (same := folded.get(name.lower())) is not None:
                wider[same] = common(name, present[same], kind)
        if added:
            self._add(table, added)
        if wider != present:
            self._retype(relation, {**wider, **added}, label)

    def _add(self, table: Table, types: Mapping[str, str]) -> None:
        fields = [schema_field(encoded(name), kind) for name, kind in types.items()]
        table.schema = [*table.schema, *fields]
        with speaking(str(table.reference)):
            self._bigquery.client.update_table(table, ["schema"], retry=retry())

    def _retype(self, relation: str, types: Mapping[str, str], label: str) -> None:
        """Write a table anew with these types, for exactly its columns, in one statement."""
        values = ", ".join(
            quote(name) if parsed(kind).nested else f"CAST({quote(name)} AS {kind}) AS {quote(name)}"
            for name, kind in types.items()
        )
        name, layout = quote_relation(relation), layout_of(self.known(relation))
        self._bigquery.run(label, f"CREATE OR REPLACE TABLE {name} {layout} AS SELECT {values} FROM {name}")

    def swap(self, staging: str, relation: str, label: str) -> None:
        """Put `staging` in the place of a relation that cannot be replaced by a statement."""
        self.drop(relation)
        target = quote(split_relation(relation)[1])
        self._bigquery.run(label, f"ALTER TABLE {quote_relation(staging)} RENAME TO {target}")

    def beside(self, relation: str) -> str:
        """A name for a staging table in the same dataset, which is there then."""
        self.make_dataset(relation)
        return beside(relation)


def columns_of(table: Table) -> tuple[Column, ...]:
    """The columns with logical types."""
    return tuple(Column(name=name, type=logical_type(kind)) for name, kind in types_of(table).items())


def common(name: str, present: str, coming: str) -> str:
    """A type that holds the values of both.

    Raises:
        DataError: where there is none.
    """
    if present == coming:
        return present
    nested = parsed(present).nested or parsed(coming).nested
    for family in (_NUMBERS, _MOMENTS):
        if present in family and coming in family:
            return max(present, coming, key=family.index)
    # Neither an ARRAY nor a STRUCT is cast to text.
    if "STRING" in (present, coming) and not nested:
        return "STRING"
    raise DataError(
        f"The column {name!r} was {present} and is {coming} now: no type holds both.",
        mend="Cast it in the SQL, or drop the table and build it anew.",
    )
