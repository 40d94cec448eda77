-- Events with their session: a visitor's session ends after 30 minutes without an event.
-- A view is `converted` if the visitor bought the item later in the same session.
WITH gaps AS (
    SELECT
        *,
        CASE
            WHEN ts - lag(ts) OVER visitor <= INTERVAL '30 minutes' THEN 0
            ELSE 1
        END AS starts
    FROM clean_events
    WINDOW visitor AS (PARTITION BY visitor_id ORDER BY ts, event_id)
),
numbered AS (
    SELECT
        *,
        sum(starts) OVER (PARTITION BY visitor_id ORDER BY ts, event_id) AS session_number
    FROM gaps
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
    concat(visitor_id, '-', CAST(session_number AS VARCHAR)) AS session_id,
    event_type IN ('view', 'search') AND count(
        CASE WHEN event_type = 'purchase' THEN 1 END
    ) OVER later > 0 AS converted,
    -- What an event says of liking. Whole numbers, so that sums do not depend on their order.
    CASE event_type
        WHEN 'purchase' THEN 8
        WHEN 'add_to_cart' THEN 4
        WHEN 'search' THEN 2
        ELSE 1
    END AS weight,
    $logical_date AS dt
FROM numbered
-- From the session's end on: a window with an order and a bounded frame is computed as the rows go
-- by, one without holds all rows of the day in memory.
WINDOW later AS (
    PARTITION BY visitor_id, session_number, item_id
    ORDER BY ts DESC, event_id DESC
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
)
