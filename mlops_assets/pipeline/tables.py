"""The tables between arrivals and dataset: one asset per SQL file, skipped when nothing changed."""

from typing import Any

import dagster as dg

from mlops_assets.artifacts import TableRef, digest_of
from mlops_assets.declaration.loaded import LoadedDeclaration, SqlTable
from mlops_assets.errors import DataError
from mlops_assets.pipeline.memo import Made, Step, once
from mlops_assets.pipeline.names import Names
from mlops_assets.pipeline.presentation import code_block, column_schema, engine
from mlops_assets.platforms.ports import Platform, TableBuild

ARRIVALS = "arrivals"


def table_assets(loaded: LoadedDeclaration) -> list[dg.AssetsDefinition]:
    """One asset `<model>/<file name>` per SQL file; each hands on a `TableRef` with its version.

    A table's version is the digest of its canonical SQL, the versions of what it reads and the engine: a
    comment changes nothing, and a table whose inputs are unchanged is not built again.
    """
    return [_table_asset(loaded, table) for table in loaded.tables]


def arrivals_dependency(names: Names) -> dg.AssetDep:
    """The dependency of an unpartitioned asset on everything that has arrived."""
    return dg.AssetDep(names.asset(ARRIVALS), partition_mapping=dg.AllPartitionMapping())


def table_input(names: Names, table: str) -> dg.AssetIn:
    """The `TableRef` that `table` handed on."""
    return dg.AssetIn(key=names.asset(table), input_manager_key="handover", dagster_type=TableRef)


def arrivals_version(platform: Platform, names: Names) -> str:
    """Digest of every loaded object's content: what `arrivals` is as an input.

    Raises:
        DataError: where nothing has been loaded yet.
    """
    if platform.warehouse.columns(names.arrivals) is None:
        raise DataError(
            "Nothing has arrived yet.",
            where=names.arrivals,
            mend="Put a file into the landing folder and materialise its partition of arrivals, or run "
            f"`mlops-assets run {names.model}`.",
        )
    return platform.warehouse.state(names.ledger)


def _table_asset(loaded: LoadedDeclaration, sql: SqlTable) -> dg.AssetsDefinition:
    names = Names(loaded.name)
    upstream = [name for name in sql.dependencies if name != ARRIVALS]
    reads_arrivals = ARRIVALS in sql.dependencies

    @dg.asset(
        key=names.asset(sql.name),
        ins={name: table_input(names, name) for name in upstream},
        deps=[arrivals_dependency(names)] if reads_arrivals else [],
        io_manager_key="handover",
        group_name=loaded.name,
        kinds={engine(), "sql"} | ({"view"} if sql.materialization.endswith("view") else set()),
        owners=list(loaded.spec.owners) or None,
        tags=dict(loaded.spec.tags),
        description=sql.description or f"{_kind(sql)} `{names.relation(sql.name)}`.",
        code_version=_code_version(sql),
        metadata={
            "dagster/table_name": names.relation(sql.name),
            "dagster/column_lineage": _lineage(names, sql),
            # As written: laying out what runs takes the parser, which loading the code location does without.
            "sql": code_block(sql.path.read_text(encoding="utf-8"), "sql"),
        },
    )
    def table(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform], **refs: TableRef
    ) -> dg.MaterializeResult[TableRef]:
        versions = {name: ref.version for name, ref in refs.items()}
        if reads_arrivals:
            versions[ARRIVALS] = arrivals_version(platform, names)
        relation = names.relation(sql.name)
        outcome = once(
            context,
            platform,
            _step(loaded, sql, versions),
            TableRef,
            work=lambda key: _build(platform, relation, sql, key),
            exists=lambda ref: platform.warehouse.columns(ref.relation) is not None,
            mutable=True,
        )
        return dg.MaterializeResult(
            value=outcome.value,
            data_version=dg.DataVersion(outcome.value.version),
            metadata={**_describe(outcome.value, names, sql), **outcome.metadata},
        )

    return table


def _kind(sql: SqlTable) -> str:
    return sql.materialization.replace("_", " ").capitalize()


def _configuration(sql: SqlTable) -> dict[str, Any]:
    return {
        "select": sql.select,
        "materialization": sql.materialization,
        "unique_key": list(sql.unique_key),
        "options": dict(sql.options),
    }


def _step(loaded: LoadedDeclaration, sql: SqlTable, versions: dict[str, str]) -> Step:
    return Step(
        model=loaded.name,
        stage=sql.name,
        code=(),
        configuration=_configuration(sql),
        inputs=versions,
        packages=("duckdb", "sqlglot"),
    )


def _code_version(sql: SqlTable) -> str:
    return digest_of(_configuration(sql))[:16]


def _build(platform: Platform, relation: str, sql: SqlTable, key: str) -> Made[TableRef]:
    build = TableBuild(relation, sql.select, sql.materialization, sql.unique_key, sql.options)
    return Made(platform.warehouse.build(build).model_copy(update={"version": key}))


def _describe(ref: TableRef, names: Names, sql: SqlTable) -> dict[str, Any]:
    described: dict[str, Any] = {
        "dagster/table_name": ref.relation,
        "dagster/column_schema": column_schema(ref.columns),
        "dagster/column_lineage": _lineage(names, sql),
        "sql": code_block(_readable(sql), "sql"),
    }
    return described if ref.rows is None else {**described, "dagster/row_count": ref.rows}


def _lineage(names: Names, sql: SqlTable) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(names.asset(table), origin) for table, origin in origins]
            for column, origins in sql.lineage.items()
        }
    )


def _readable(sql: SqlTable) -> str:
    """The canonical SQL laid out over lines: what runs, whatever the file looks like."""
    import sqlglot

    return sqlglot.transpile(sql.select, read="duckdb", write="duckdb", pretty=True)[0]
