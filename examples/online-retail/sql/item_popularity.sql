-- What is popular in which country, with customers whom nobody knows counted too; weighed as in
-- `interactions`. The invoices do not say on what device an order was placed. One row a day, so that
-- a training set holds its own days only.
SELECT
    CASE WHEN country NOT IN ('Unspecified', 'European Community') THEN country END AS location,
    CAST(NULL AS VARCHAR) AS device,
    item_id,
    count(DISTINCT invoice_no)
        * greatest(round(1024 * power(2.0, -($logical_date - dt) / 45.0)), 1) / 1024 AS weight,
    dt
FROM clean_lines
WHERE dt <= $logical_date
GROUP BY 1, item_id, dt
