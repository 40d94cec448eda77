-- The user feed, one row a user. Of a user who comes twice the last row counts.
SELECT
    user_id,
    signup_date,
    upper(location) AS location,
    birth_year,
    segment,
    marketing_consent,
    CASE
        WHEN row_number() OVER (PARTITION BY user_id ORDER BY _row DESC) > 1 THEN 'duplicate'
        ELSE 'kept'
    END AS _fate
FROM user_feed
