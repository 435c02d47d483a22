-- materialized: table
-- description: Each listing as it was listed last, whatever the order in which its files arrived.
--
-- The file's name and the row in it decide between two rows of the same time, so that a rebuild from the same
-- files chooses the same row.
SELECT *
FROM arrivals
QUALIFY row_number() OVER (PARTITION BY listing_id ORDER BY listed_at DESC, _object DESC, _row DESC) = 1
