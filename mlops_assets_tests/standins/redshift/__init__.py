"""A Redshift on 127.0.0.1 for the real drivers: PostgreSQL behind a proxy for Redshift's statements.

It is honest about TRUNCATE (commits), VARCHAR(n) (counts bytes), COPY from Parquet (no MAXERROR, no REGION;
types and the columns' number must match), UNLOAD (no outer LIMIT, never over what is there), types (only a
VARCHAR's length changes, and not in a transaction), aggregates over an order (need a frame), booleans (no
cast to text), and about what PostgreSQL has and Redshift has not. The rest answers an error that names it.

What it cannot show: serialisable-isolation errors, workload management, what distribution and sort keys do
for speed, the permissions of IAM_ROLE, the types that CREATE TABLE AS gives to literals and concatenations,
the text of a double precision, concurrency on a leader and its nodes, the driver's binary protocol.
"""

from mlops_assets_tests.standins.redshift.server import RedshiftStandIn

__all__ = ["RedshiftStandIn"]
