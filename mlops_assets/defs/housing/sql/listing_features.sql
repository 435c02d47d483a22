-- materialized: view
-- description: What the model sees of a listing, with the price that it learns.
SELECT
    listing_id,
    square_feet,
    num_bedrooms,
    num_bathrooms,
    lot_acres,
    garage_spaces,
    front_porch,
    deck,
    extract(year FROM listed_at) - year_built AS house_age,
    square_feet / nullif(num_bedrooms, 0) AS square_feet_per_bedroom,
    CASE
        WHEN year_built < 1960 THEN 'before 1960'
        WHEN year_built < 1990 THEN '1960 to 1989'
        ELSE 'since 1990'
    END AS era,
    price
FROM listings
