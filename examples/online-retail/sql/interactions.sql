-- One weighted label per known customer, product and day.
SELECT
    user_id,
    item_id,
    count(DISTINCT invoice_no) AS weight,
    sum(quantity) AS quantity,
    dt
FROM clean_lines
WHERE user_id IS NOT NULL
GROUP BY user_id, item_id, dt
