-- Events of the day by people, each once. `_fate` says what becomes of every row that was read; a
-- run fails unless the fates add up to the rows of the source.
SELECT
    event_id,
    ts,
    event_type,
    visitor_id,
    user_id,
    item_id,
    lower(device) AS device,
    upper(location) AS location,
    quantity,
    $logical_date AS dt,
    CASE
        WHEN regexp_like(user_agent, '(bot|crawler|spider)', 'i') THEN 'filtered: bot'
        WHEN ts < $interval_start OR ts >= $interval_end THEN 'filtered: outside the day'
        WHEN row_number() OVER (PARTITION BY event_id ORDER BY ts, _row) > 1 THEN 'duplicate'
        ELSE 'kept'
    END AS _fate
FROM clickstream
