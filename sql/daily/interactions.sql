-- One weighted label per known user and item. The weights are whole numbers, so that their sums do
-- not depend on the order in which they are added.
SELECT
    user_id,
    item_id,
    least(
        sum(
            CASE event_type
                WHEN 'purchase' THEN 8
                WHEN 'add_to_cart' THEN 4
                WHEN 'search' THEN 2
                ELSE 1
            END
        ),
        20
    ) AS weight,
    sum(CASE WHEN event_type IN ('view', 'search') THEN 1 ELSE 0 END) AS views,
    sum(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS carts,
    sum(CASE WHEN event_type = 'purchase' THEN coalesce(quantity, 1) ELSE 0 END) AS purchases,
    bool_or(converted) AS converted,
    max(ts) AS last_ts,
    $logical_date AS dt
FROM session_events
WHERE user_id IS NOT NULL
GROUP BY user_id, item_id
