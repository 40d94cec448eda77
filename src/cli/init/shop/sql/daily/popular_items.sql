-- What is popular where and on what, for visitors whom nobody knows.
SELECT
    location,
    device,
    item_id,
    count(DISTINCT visitor_id) AS weight,
    $logical_date AS dt
FROM clean_events
GROUP BY location, device, item_id
