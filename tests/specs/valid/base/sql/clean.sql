SELECT
    event_id,
    user_id,
    item_id,
    quantity,
    ts,
    $logical_date AS dt
FROM events
WHERE ts >= $interval_start AND ts < $interval_end
