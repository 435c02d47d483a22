-- What Redshift's catalogue and functions have and PostgreSQL's have not; run in the template of all databases.
SET allow_system_table_mods = on;
CREATE SCHEMA rs_internal;
GRANT USAGE ON SCHEMA rs_internal TO PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA rs_internal GRANT ALL ON TABLES TO PUBLIC;

CREATE TABLE rs_internal.attributes(
  relation oid, style text, key text, sort text[], sort_style text, encodings jsonb);
CREATE TABLE rs_internal.late_binding(schema_name text, view_name text, query text);
CREATE TABLE rs_internal.load_errors(
  query_id bigint, file_name text, line_number bigint, column_name text, raw_line text,
  code int, reason text, relation text, at timestamp DEFAULT (now() AT TIME ZONE 'UTC'));
CREATE TABLE rs_internal.queries(
  query_id bigint, session_id int, label text, kind text, status text, started timestamp, ended timestamp,
  rows bigint, bytes bigint, statement text, message text);

CREATE FUNCTION pg_catalog.pg_last_copy_count() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT coalesce(nullif(current_setting('rs.last_copy_count', true), ''), '0')::bigint $$;
CREATE FUNCTION pg_catalog.pg_last_copy_id() RETURNS int LANGUAGE sql STABLE AS
$$ SELECT coalesce(nullif(current_setting('rs.last_copy_id', true), ''), '-1')::int $$;
CREATE FUNCTION pg_catalog.pg_last_unload_count() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT coalesce(nullif(current_setting('rs.last_unload_count', true), ''), '0')::bigint $$;
CREATE FUNCTION pg_catalog.pg_last_query_id() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT coalesce(nullif(current_setting('rs.last_query_id', true), ''), '-1')::bigint $$;
CREATE FUNCTION pg_catalog.getdate() RETURNS timestamp LANGUAGE sql STABLE AS
$$ SELECT date_trunc('second', now() AT TIME ZONE 'UTC') $$;
CREATE FUNCTION pg_catalog.dateadd(text, bigint, timestamp) RETURNS timestamp LANGUAGE sql IMMUTABLE AS
$$ SELECT $3 + ($2::text || ' ' || $1)::interval $$;
CREATE FUNCTION pg_catalog.datediff(text, timestamp, timestamp) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
SELECT CASE lower($1)
 WHEN 'second' THEN extract(epoch FROM date_trunc('second', $3) - date_trunc('second', $2))::bigint
 WHEN 'minute' THEN (extract(epoch FROM date_trunc('minute', $3) - date_trunc('minute', $2)) / 60)::bigint
 WHEN 'hour' THEN (extract(epoch FROM date_trunc('hour', $3) - date_trunc('hour', $2)) / 3600)::bigint
 WHEN 'day' THEN (date_trunc('day', $3)::date - date_trunc('day', $2)::date)::bigint
 WHEN 'week' THEN ((date_trunc('week', $3)::date - date_trunc('week', $2)::date) / 7)::bigint
 WHEN 'month' THEN ((extract(year FROM $3) - extract(year FROM $2)) * 12
                    + extract(month FROM $3) - extract(month FROM $2))::bigint
 WHEN 'year' THEN (extract(year FROM $3) - extract(year FROM $2))::bigint END $$;
CREATE FUNCTION pg_catalog.round(double precision, int) RETURNS double precision LANGUAGE sql IMMUTABLE AS
$$ SELECT round($1::numeric, $2)::double precision $$;
CREATE FUNCTION rs_internal.middle(double precision[]) RETURNS double precision LANGUAGE sql IMMUTABLE AS
$$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM unnest($1) AS u(v) $$;
CREATE AGGREGATE pg_catalog.median(double precision) (
  sfunc = array_append, stype = double precision[], finalfunc = rs_internal.middle, initcond = '{}');

CREATE FUNCTION rs_internal.no_text_of_booleans(boolean) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
$$ BEGIN RAISE EXCEPTION 'cannot cast type boolean to character varying' USING ERRCODE = '42846'; END $$;
UPDATE pg_cast SET castfunc = 'rs_internal.no_text_of_booleans'::regproc
WHERE castsource = 'boolean'::regtype AND casttarget IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype);

CREATE VIEW rs_internal.relations AS
SELECT c.oid, n.nspname::text AS schema_name, c.relname::text AS table_name, c.relkind AS kind, c.reltuples
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'rs_internal') AND n.nspname NOT LIKE 'pg\\_t%';

CREATE VIEW pg_catalog.svv_tables AS
SELECT current_database()::text AS table_catalog, schema_name AS table_schema, table_name,
  CASE kind WHEN 'r' THEN 'BASE TABLE' ELSE 'VIEW' END AS table_type, NULL::text AS remarks
FROM rs_internal.relations
UNION ALL SELECT current_database()::text, l.schema_name, l.view_name, 'VIEW', NULL
FROM rs_internal.late_binding l WHERE NOT EXISTS (
  SELECT 1 FROM rs_internal.relations r WHERE r.schema_name = l.schema_name AND r.table_name = l.view_name);
CREATE VIEW pg_catalog.svv_columns AS
SELECT current_database()::text AS table_catalog, r.schema_name AS table_schema, r.table_name,
  a.attname::text AS column_name, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)::int
    AS ordinal_position, NULL::text AS column_default,
  CASE WHEN a.attnotnull THEN 'NO' ELSE 'YES' END AS is_nullable,
  CASE WHEN a.atttypid = 'jsonb'::regtype THEN 'super' WHEN a.atttypid = 'text'::regtype
    THEN 'character varying' ELSE regexp_replace(format_type(a.atttypid, NULL), '^bpchar$', 'character') END
    AS data_type,
  CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4 THEN a.atttypmod - 4
    WHEN a.atttypid IN ('varchar'::regtype, 'text'::regtype) THEN 65535 END AS character_maximum_length,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod > 4 THEN ((a.atttypmod - 4) >> 16) & 65535
    WHEN a.atttypid = 'numeric'::regtype THEN 38 END AS numeric_precision,
  CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod > 4 THEN (a.atttypmod - 4) & 65535
    WHEN a.atttypid = 'numeric'::regtype THEN 0 END AS numeric_scale,
  NULL::text AS remarks
FROM rs_internal.relations r JOIN pg_attribute a ON a.attrelid = r.oid
WHERE a.attnum > 0 AND NOT a.attisdropped;
CREATE VIEW pg_catalog.svv_all_tables AS
SELECT table_catalog AS database_name, table_schema AS schema_name, table_name,
  CASE table_type WHEN 'VIEW' THEN 'VIEW' ELSE 'TABLE' END AS table_type, NULL::text AS table_acl, remarks
FROM pg_catalog.svv_tables;
CREATE VIEW pg_catalog.svv_all_columns AS
SELECT table_catalog AS database_name, table_schema AS schema_name, table_name, column_name, ordinal_position,
  column_default, is_nullable, data_type, character_maximum_length, numeric_precision, numeric_scale, remarks
FROM pg_catalog.svv_columns;
CREATE VIEW pg_catalog.svv_external_schemas AS
SELECT 0::oid AS esoid, 0::smallint AS eskind, ''::text AS schemaname, 0 AS esowner, ''::text AS databasename,
  ''::text AS esoptions WHERE false;
CREATE VIEW pg_catalog.svv_mv_info AS
SELECT current_database()::text AS database_name, schema_name, 'awsuser'::text AS user_name, table_name AS name,
  'f'::char(1) AS is_stale, 1 AS state, 'f'::char(1) AS autorewrite, 'f'::char(1) AS autorefresh
FROM rs_internal.relations WHERE kind = 'm';
CREATE VIEW pg_catalog.svv_table_info AS
SELECT current_database()::text AS database, r.schema_name AS schema, r.oid AS table_id, r.table_name AS "table",
  CASE WHEN a.encodings IS NULL OR a.encodings = '{}' THEN 'N, AUTO(ENCODE)' ELSE 'Y' END AS encoded,
  CASE WHEN a.style = 'KEY' THEN 'KEY(' || a.key || ')' ELSE coalesce(a.style, 'AUTO') END AS diststyle,
  a.sort[1] AS sortkey1, coalesce(cardinality(a.sort), 0) AS sortkey_num, 1::bigint AS size,
  r.reltuples::numeric(38, 0) AS tbl_rows
FROM rs_internal.relations r LEFT JOIN rs_internal.attributes a ON a.relation = r.oid WHERE r.kind = 'r';
CREATE VIEW pg_catalog.pg_table_def AS
SELECT r.schema_name AS schemaname, r.table_name AS tablename, t.attname::text AS "column",
  format_type(t.atttypid, t.atttypmod) AS type,
  coalesce(a.encodings ->> t.attname::text, 'none') AS encoding, a.key IS NOT DISTINCT FROM t.attname::text AS distkey,
  coalesce(array_position(a.sort, t.attname::text), 0)
    * CASE WHEN a.sort_style = 'INTERLEAVED' THEN -1 ELSE 1 END AS sortkey, t.attnotnull AS "notnull"
FROM rs_internal.relations r JOIN pg_attribute t ON t.attrelid = r.oid AND t.attnum > 0 AND NOT t.attisdropped
LEFT JOIN rs_internal.attributes a ON a.relation = r.oid WHERE r.kind = 'r';
CREATE VIEW pg_catalog.stl_load_errors AS
SELECT 100 AS userid, 0 AS slice, 0 AS tbl, at AS starttime, 0 AS session, query_id::int AS query,
  file_name::char(256) AS filename, line_number, column_name::char(127) AS colname, ''::char(10) AS type,
  raw_line::char(1024) AS raw_line, code AS err_code, reason::char(100) AS err_reason
FROM rs_internal.load_errors;
CREATE VIEW pg_catalog.sys_load_error_detail AS
SELECT 100 AS user_id, query_id, at AS start_time, current_database()::text AS database_name, file_name,
  line_number, column_name, raw_line AS record, code AS error_code, reason AS error_message
FROM rs_internal.load_errors;
CREATE VIEW pg_catalog.sys_query_history AS
SELECT 100 AS user_id, query_id, label AS query_label, session_id, kind AS query_type, status, started AS start_time,
  ended AS end_time, (extract(epoch FROM ended - started) * 1000000)::bigint AS elapsed_time, rows AS returned_rows,
  bytes AS returned_bytes, statement AS query_text, message AS error_message
FROM rs_internal.queries;
CREATE VIEW pg_catalog.sys_query_detail AS
SELECT query_id, rows AS output_rows, bytes AS input_bytes, rows AS input_rows, bytes AS output_bytes
FROM rs_internal.queries;
