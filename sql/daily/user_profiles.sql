-- Who the active users of the last weeks are: their own data, what they did, what they like most.
WITH activity AS (
    SELECT
        i.user_id,
        p.category,
        p.brand,
        sum(i.weight) AS weight,
        sum(i.views) AS views,
        sum(i.purchases) AS purchases,
        max(i.last_ts) AS last_ts
    FROM interactions AS i
    LEFT JOIN products AS p ON p.item_id = i.item_id
    GROUP BY i.user_id, p.category, p.brand
),
by_category AS (
    SELECT user_id, category, sum(weight) AS weight FROM activity GROUP BY user_id, category
),
favourite AS (
    SELECT
        user_id,
        category,
        row_number() OVER (PARTITION BY user_id ORDER BY weight DESC, category) AS place
    FROM by_category
),
totals AS (
    SELECT
        user_id,
        sum(views) AS views,
        sum(purchases) AS purchases,
        count(DISTINCT category) AS categories,
        max(last_ts) AS last_ts
    FROM activity
    GROUP BY user_id
)
SELECT
    t.user_id,
    u.segment,
    u.location,
    u.signup_date,
    u.birth_year,
    t.views,
    t.purchases,
    t.categories,
    f.category AS favourite_category,
    t.last_ts,
    $logical_date AS dt
FROM totals AS t
JOIN favourite AS f ON f.user_id = t.user_id AND f.place = 1
LEFT JOIN users AS u ON u.user_id = t.user_id
