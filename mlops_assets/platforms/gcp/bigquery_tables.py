"""Building relations in BigQuery: one statement makes a table and puts it in the old one's place."""

# ruff: noqa: S608 - identifiers are quoted, values are parameters or quoted literals

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_assets.artifacts import TableRef
from mlops_assets.errors import DataError
from mlops_assets.platforms.dialect_bigquery import decoded
from mlops_assets.platforms.gcp.bigquery import BigQuery
from mlops_assets.platforms.gcp.bigquery_layout import layout_of, limit_of, table_layout, types_of
from mlops_assets.platforms.gcp.bigquery_relations import Relations, columns_of
from mlops_assets.platforms.gcp.bigquery_sql import quote, quote_relation, transpiled
from mlops_assets.platforms.gcp.bigquery_types import parsed, sql_type
from mlops_assets.platforms.ports import TableBuild

_LAYOUT = ("partition_by", "cluster_by")


class TableWork:
    """One build."""

    def __init__(self, bigquery: BigQuery, relations: Relations, build: TableBuild) -> None:
        """Transpile the SELECT.

        Raises:
            DataError: for what BigQuery cannot express.
            DeclarationError: for a limit that is not a number.
        """
        self._bigquery, self._relations, self._build = bigquery, relations, build
        self._select = transpiled(build.select, bigquery.location)
        self._label = f"build {build.relation}"
        self._limit = limit_of(build.options, build.relation)

    def run(self) -> TableRef:
        """Build and put in place.

        Raises:
            DataError: where the SELECT fails; the old relation stays.
            DeclarationError: for an option that BigQuery does not take.
        """
        build = self._build
        self._relations.make_dataset(build.relation)
        if build.materialization == "view":
            return self._view()
        present = self._relations.find(build.relation)
        is_table = present is not None and present.table_type == "TABLE"
        if build.materialization == "incremental" and build.unique_key and is_table:
            merge(
                self._bigquery,
                self._relations,
                build.relation,
                select=self._select,
                key=build.unique_key,
                label=self._label,
                limit=self._limit,
            )
        else:
            self._replace()
        return reference(self._relations, build.relation)

    def _view(self) -> TableRef:
        """A view; with the option `refreshed_by_bigquery` a materialized one of BigQuery's."""
        relation = self._build.relation
        kept = self._build.options.get("refreshed_by_bigquery", "no").lower() in ("yes", "true", "on")
        present, kind = self._relations.find(relation), "MATERIALIZED_VIEW" if kept else "VIEW"
        if present is not None and present.table_type != kind:
            self._bigquery.run(self._label, f"SELECT * FROM ({self._select}) LIMIT 0")  # or it stays
            self._relations.drop(relation)
        name = quote_relation(relation)
        self._bigquery.run(
            self._label, f"CREATE OR REPLACE {kind.replace('_', ' ')} {name} AS {self._select}"
        )
        columns = columns_of(self._relations.known(relation))
        return TableRef(relation=relation, version="", columns=columns)

    def _replace(self) -> None:
        """CREATE OR REPLACE; by way of another name where neither kind nor partitions can be replaced."""
        relation, layout = self._build.relation, self._layout()
        present = self._relations.find(relation)
        if present is None or (present.table_type == "TABLE" and layout_of(present) == layout):
            self._create(relation, layout)
            return
        staging = self._relations.beside(relation)
        try:
            self._create(staging, layout)
            self._relations.swap(staging, relation, self._label)
        finally:
            self._relations.drop(staging)

    def _create(self, relation: str, layout: str) -> None:
        sql = f"CREATE OR REPLACE TABLE {quote_relation(relation)} {layout} AS {self._select}"
        self._bigquery.run(self._label, sql, estimate=True, limit=self._limit)

    def _layout(self) -> str:
        """The clauses of the header; the types of the columns it names are looked up first."""
        options, relation = self._build.options, self._build.relation
        if not any(options.get(name) for name in _LAYOUT):
            return ""
        found = self._bigquery.run(self._label, f"SELECT * FROM ({self._select}) LIMIT 0")
        types = {decoded(field.name): sql_type(field) for field in found.schema}
        return table_layout(options, types, relation)


def merge(
    bigquery: BigQuery,
    relations: Relations,
    relation: str,
    *,
    select: str,
    key: Sequence[str],
    label: str,
    limit: int | None = None,
) -> None:
    """Let the rows of a SELECT replace those of equal key, in one statement; NULL equals NULL.

    MERGE joins each row of the table with at most one of the other side, and only by what is equal: each new
    row goes to it once to be inserted, which matches nothing, and each new key once to delete what has it.
    """
    staging = relations.beside(relation)
    try:
        sql = f"CREATE OR REPLACE TABLE {quote_relation(staging)} AS {select}"
        bigquery.run(label, sql, estimate=True, limit=limit)
        coming = types_of(relations.known(staging))
        refuse_nested(coming, key, relation)
        relations.widen(relation, coming, label)
        present = types_of(relations.known(relation))
        names = ", ".join(quote(name) for name in coming)
        keys = ", ".join(quote(name) for name in key)
        folded = {name.lower(): kind for name, kind in present.items()}
        equal = " AND ".join(_equal(name, folded[name.lower()]) for name in key)
        nothing = ", ".join(
            f"CAST(NULL AS {kind}) AS {quote(name)}" if name not in key else quote(name)
            for name, kind in coming.items()
        )
        rows = f"SELECT TRUE AS __new, {names} FROM {quote_relation(staging)}"
        gone = (
            f"SELECT FALSE AS __new, {nothing} FROM (SELECT DISTINCT {keys} FROM {quote_relation(staging)})"
        )
        bigquery.run(
            label,
            f"MERGE INTO {quote_relation(relation)} AS t USING ({rows} UNION ALL {gone}) AS s "
            f"ON NOT s.__new AND {equal} WHEN MATCHED THEN DELETE "
            f"WHEN NOT MATCHED AND s.__new THEN INSERT ({names}) VALUES ({names})",
            limit=limit,
        )
    finally:
        relations.drop(staging)


def refuse_nested(types: Mapping[str, str], key: Sequence[str], where: str) -> None:
    """Nothing where every column of the key is of single values.

    Raises:
        DataError: for one that is an ARRAY or a STRUCT, which BigQuery compares with nothing.
    """
    for name in key:
        if parsed(types[name]).nested:
            raise DataError(
                f"The column {name!r} is {types[name]}: rows cannot be told apart by it in BigQuery.",
                where=where,
                mend="Name columns of one value per row as the key.",
            )


def reference(relations: Relations, relation: str) -> TableRef:
    """The table as it is, with its rows."""
    table = relations.known(relation)
    return TableRef(relation=relation, version="", columns=columns_of(table), rows=int(table.num_rows or 0))


def _equal(name: str, kind: str) -> str:
    """Equal or both NULL, as equalities of one side each: an outer join takes no other condition."""
    column = quote(name)
    text = "COALESCE(CAST(CAST({0}.{1} AS {2}) AS STRING), '')"
    sides = [text.format(side, column, kind) for side in ("t", "s")]
    return f"(t.{column} IS NULL) = (s.{column} IS NULL) AND {sides[0]} = {sides[1]}"
