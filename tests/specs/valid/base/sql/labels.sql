-- One row a user and item.
SELECT
    c.user_id,
    c.item_id,
    sum(c.quantity) AS weight,
    $logical_date AS dt
FROM clean AS c
JOIN catalogue AS i ON i.item_id = c.item_id
GROUP BY c.user_id, c.item_id
