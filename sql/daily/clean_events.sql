-- Events of the day by people, each once. Every line that was read gets one fate, in `_fate`.
--
-- Delivery is at least once: copies of an event have the same id, and the first in the order of
-- time, then of the files, is kept. The reader has brought `ts` to UTC.
WITH marked AS (
    -- What the user agent tells is found out first, so that the long text need not be sorted.
    SELECT
        event_id,
        ts,
        event_type,
        visitor_id,
        user_id,
        item_id,
        lower(device) AS device,
        upper(location) AS location,
        price,
        quantity,
        regexp_like(user_agent, '(bot|crawler|spider)', 'i') AS is_bot,
        _row
    FROM clickstream
)
SELECT
    event_id,
    ts,
    event_type,
    visitor_id,
    user_id,
    item_id,
    device,
    location,
    price,
    quantity,
    $logical_date AS dt,
    CASE
        WHEN is_bot THEN 'filtered: bot'
        WHEN ts < $interval_start OR ts >= $interval_end THEN 'filtered: outside the day'
        WHEN row_number() OVER (PARTITION BY event_id ORDER BY ts, _row) > 1 THEN 'duplicate'
        ELSE 'kept'
    END AS _fate
FROM marked
