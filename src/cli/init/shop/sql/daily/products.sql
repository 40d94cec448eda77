-- The product feed, one row an item. Of an item that comes twice the last row counts.
SELECT
    item_id,
    trim(name) AS name,
    trim(category) AS category,
    price,
    CASE
        WHEN price <= 0 THEN 'quarantined: price is not positive'
        WHEN row_number() OVER (PARTITION BY item_id ORDER BY _row DESC) > 1 THEN 'duplicate'
        ELSE 'kept'
    END AS _fate,
    _file,
    _line
FROM product_feed
