-- Sales of products, one row an invoice line. Every line that was read gets one fate, in `_fate`.
--
-- Lines without a customer (a quarter) are kept: they cannot be labels, as nobody knows whose they
-- are, but what they sold counts for what is popular. `interactions` leaves them out.
WITH lines AS (
    SELECT
        "InvoiceNo" AS invoice_no,
        -- `85123a` and `85123A` are one product, keyed in by different people: of the 99 codes with
        -- small letters all that are sold beside their twin bear its name, but for an abbreviation.
        upper("StockCode") AS item_id,
        trim(regexp_replace("Description", '\s+', ' ', 'g')) AS description,
        "Quantity" AS quantity,
        "InvoiceDate" AS sold_at,
        "UnitPrice" AS price,
        "CustomerID" AS user_id,
        "Country" AS country,
        CAST("InvoiceDate" AS DATE) AS dt,
        -- The same line twice on one invoice, in every column as it came: a line has no number that
        -- would tell a second scan of an item from a second delivery of the line.
        row_number() OVER (
            PARTITION BY
                "InvoiceNo", "StockCode", "Description", "Quantity",
                "InvoiceDate", "UnitPrice", "CustomerID", "Country"
            ORDER BY _row
        ) > 1 AS is_copy,
        _file,
        _line,
        _row
    FROM invoices
),
-- Mistakes at the till: a customer's purchase that is cancelled (invoice `C…`) in the same quantity
-- on the same day, such as 74,215 storage jars that were none 16 minutes later. Purchases and their
-- cancellations are matched as brackets are: the balance counts open purchases, and one is closed
-- if the balance falls below what it was with it. So one cancellation undoes one purchase, the last
-- before it.
--
-- What comes back on a later day is no mistake but a return of something that was wanted. Dropping
-- its purchase would also let training know what only the test days tell.
balanced AS (
    SELECT
        *,
        sum(
            CASE
                WHEN is_copy OR price <= 0 THEN 0
                WHEN invoice_no LIKE 'C%' THEN -1
                ELSE 1
            END
        ) OVER (
            PARTITION BY user_id, item_id, abs(quantity), dt
            ORDER BY sold_at, quantity DESC, _row
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS balance
    FROM lines
),
matched AS (
    SELECT
        *,
        user_id IS NOT NULL
            AND quantity > 0
            AND coalesce(
                min(balance) OVER (
                    PARTITION BY user_id, item_id, abs(quantity), dt
                    ORDER BY sold_at, quantity DESC, _row
                    ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
                ) < balance,
                false
            ) AS is_undone
    FROM balanced
)
SELECT
    invoice_no,
    item_id,
    description,
    quantity,
    sold_at,
    price,
    user_id,
    country,
    dt,
    CASE
        WHEN is_copy THEN 'duplicate'
        WHEN price < 0 THEN 'quarantined: negative price'
        WHEN invoice_no LIKE 'C%' THEN 'filtered: cancellation'
        -- Postage, carriage, fees, commission, discounts, samples, bad debts and manual corrections;
        -- `PADS` is a note on the invoice at a tenth of a penny. Nobody wants to be recommended them.
        WHEN item_id IN (
            'POST', 'DOT', 'C2', 'M', 'D', 'S', 'B', 'BANK CHARGES', 'AMAZONFEE', 'CRUK', 'PADS'
        ) THEN 'filtered: not a product'
        -- Five digits, at times with letters for the colour. `DCGS…` are goods of the shop's other
        -- site, which are bags, collars and lights like others, and `gift_…` its vouchers: both are
        -- sold at a price, if never to a known customer, and so can be popular. A code of another
        -- shape is for people to look at before it is recommended to anybody.
        WHEN NOT regexp_like(item_id, '^([0-9]{5}[A-Z]*|DCGS[0-9A-Z]+|GIFT_[0-9]+_[0-9]+)$')
            THEN 'quarantined: unknown stock code'
        -- Found, damaged, lost and recounted goods are booked as sales at no price to nobody, with
        -- notes such as `thrown away` in place of a name.
        WHEN price = 0 AND user_id IS NULL THEN 'filtered: stock adjustment'
        WHEN price = 0 THEN 'filtered: given away'
        WHEN quantity <= 0 THEN 'quarantined: nothing sold, but no cancellation'
        WHEN is_undone THEN 'filtered: cancelled the same day'
        ELSE 'kept'
    END AS _fate,
    _file,
    _line
FROM matched
