-- What is popular in which country, with customers whom nobody knows counted too. The invoices do
-- not say on what device an order was placed. A day's row, so that training sees only its own days.
SELECT
    CASE WHEN country NOT IN ('Unspecified', 'European Community') THEN country END AS location,
    CAST(NULL AS VARCHAR) AS device,
    item_id,
    count(DISTINCT invoice_no) AS weight,
    dt
FROM clean_lines
GROUP BY 1, item_id, dt
