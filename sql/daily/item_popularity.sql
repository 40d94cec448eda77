-- What is popular where and on what, with visitors whom nobody knows counted too.
SELECT
    location,
    device,
    item_id,
    count(DISTINCT visitor_id) AS visitors,
    sum(
        CASE event_type
            WHEN 'purchase' THEN 8
            WHEN 'add_to_cart' THEN 4
            WHEN 'search' THEN 2
            ELSE 1
        END
    ) AS weight,
    $logical_date AS dt
FROM session_events
GROUP BY location, device, item_id
