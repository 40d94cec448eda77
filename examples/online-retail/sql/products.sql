-- One row a product. Descriptions are typed in by hand: the name is the one on most lines, of two as
-- frequent the first by the alphabet.
WITH spellings AS (
    SELECT
        item_id,
        description,
        count(*) AS lines,
        min(dt) AS first_sold,
        max(dt) AS last_sold
    FROM clean_lines
    GROUP BY item_id, description
),
ranked AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY item_id ORDER BY lines DESC, description) AS place
    FROM spellings
)
SELECT
    item_id,
    max(CASE WHEN place = 1 THEN description END) AS name,
    count(*) AS spellings,
    sum(lines) AS lines,
    min(first_sold) AS first_sold,
    max(last_sold) AS last_sold
FROM ranked
GROUP BY item_id
