-- What is popular where and on what, with visitors whom nobody knows counted too.
SELECT
    location,
    device,
    item_id,
    count(DISTINCT visitor_id) AS visitors,
    sum(weight) AS weight,
    $logical_date AS dt
FROM session_events
GROUP BY location, device, item_id
