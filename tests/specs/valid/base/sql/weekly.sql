SELECT user_id, sum(weight) AS weight, $logical_date AS dt
FROM labels
GROUP BY user_id
