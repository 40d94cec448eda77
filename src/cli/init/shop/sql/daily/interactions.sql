-- What a known user thinks of an item, as one number a day.
WITH weighted AS (
    SELECT
        user_id,
        item_id,
        CASE event_type
            WHEN 'purchase' THEN 8 * coalesce(quantity, 1)
            WHEN 'add_to_cart' THEN 4
            WHEN 'search' THEN 2
            ELSE 1
        END AS weight
    FROM clean_events
    WHERE user_id IS NOT NULL
)
SELECT
    user_id,
    item_id,
    -- Capped: the tenth view of a day says little more than the ninth.
    least(sum(weight), $max_weight) AS weight,
    $logical_date AS dt
FROM weighted
GROUP BY user_id, item_id
