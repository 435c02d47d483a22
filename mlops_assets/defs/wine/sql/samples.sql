-- materialized: table
-- description: Each wine once, as its last file has it.
SELECT *
FROM arrivals
QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY _object DESC, _row DESC) = 1
