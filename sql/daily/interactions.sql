-- One weighted label per known user and item, capped, since the tenth view of a day says little more
-- than the ninth.
SELECT
    user_id,
    item_id,
    least(sum(weight), 20) AS weight,
    sum(CASE WHEN event_type IN ('view', 'search') THEN 1 ELSE 0 END) AS views,
    sum(CASE WHEN event_type = 'add_to_cart' THEN 1 ELSE 0 END) AS carts,
    sum(CASE WHEN event_type = 'purchase' THEN coalesce(quantity, 1) ELSE 0 END) AS purchases,
    bool_or(converted) AS converted,
    max(ts) AS last_ts,
    $logical_date AS dt
FROM session_events
WHERE user_id IS NOT NULL
GROUP BY user_id, item_id
