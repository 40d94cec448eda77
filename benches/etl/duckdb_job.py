"""The SQL part of the sample's daily pipeline on DuckDB: `duckdb_job.py LAKE DAY OUT MEMORY`.

Lines that break the types are dropped, since DuckDB has nowhere to keep them. Text that is no
timestamp or number is told apart by reading it as text first: read with its type under
`ignore_errors` it would become NULL, and its row would stay.
"""

import sys

import duckdb

lake, day, out, memory = sys.argv[1:5]
con = duckdb.connect()
con.execute(f"SET threads = 2; SET TimeZone = 'UTC'; SET memory_limit = '{memory}'")
con.execute(f"SET temp_directory = '{out}/spill'; SET preserve_insertion_order = false")


def copy(name: str, query: str) -> None:
    con.execute(f"CREATE TEMP TABLE {name} AS {query}")
    con.execute(f"COPY {name} TO '{out}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd)")


copy(
    "products",
    f"""
    SELECT item_id, trim(name) AS name, trim(category) AS category, trim(brand) AS brand, price,
           launched_on
    FROM (SELECT *, row_number() OVER () AS n
          FROM read_csv('{lake}/raw/products/products.csv', header = true,
                        columns = {{item_id: 'VARCHAR', name: 'VARCHAR', category: 'VARCHAR',
                                    brand: 'VARCHAR', price: 'DOUBLE', launched_on: 'DATE'}}))
    WHERE price > 0
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY n DESC) = 1
    """,
)
copy(
    "users",
    f"""
    SELECT user_id, signup_date, upper(location) AS location, birth_year, segment,
           marketing_consent
    FROM (SELECT *, row_number() OVER () AS n
          FROM read_json('{lake}/raw/users/users.json.gz', format = 'newline_delimited',
                         columns = {{user_id: 'VARCHAR', signup_date: 'DATE', location: 'VARCHAR',
                                     birth_year: 'BIGINT', segment: 'VARCHAR',
                                     marketing_consent: 'BOOLEAN'}}))
    QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY n DESC) = 1
    """,
)
# Which copy of an event is kept is decided on its key alone: wide rows are not sorted.
copy(
    "clean_events",
    f"""
    WITH typed AS (
        SELECT event_id, TRY_CAST(ts AS TIMESTAMPTZ) AS ts, event_type, visitor_id, user_id,
               item_id, lower(device) AS device, upper(location) AS location,
               TRY_CAST(price AS DOUBLE) AS price, TRY_CAST(quantity AS BIGINT) AS quantity
        FROM read_json('{lake}/raw/clickstream/{day.replace("-", "/")}/*/*.json.gz',
                       format = 'newline_delimited', ignore_errors = true,
                       columns = {{event_id: 'VARCHAR', ts: 'VARCHAR', event_type: 'VARCHAR',
                                   visitor_id: 'VARCHAR', user_id: 'VARCHAR', item_id: 'VARCHAR',
                                   device: 'VARCHAR', location: 'VARCHAR', user_agent: 'VARCHAR',
                                   price: 'VARCHAR', quantity: 'VARCHAR'}})
        WHERE event_id IS NOT NULL AND event_type IS NOT NULL AND visitor_id IS NOT NULL
          AND item_id IS NOT NULL AND item_id NOT LIKE '{{%' AND device IS NOT NULL
          AND location IS NOT NULL AND user_agent IS NOT NULL
          AND (price IS NULL OR TRY_CAST(price AS DOUBLE) IS NOT NULL)
          AND (quantity IS NULL OR TRY_CAST(quantity AS BIGINT) IS NOT NULL)
          AND NOT regexp_matches(user_agent, '(bot|crawler|spider)', 'i')
    )
    SELECT DISTINCT ON (event_id) * FROM typed
    WHERE ts >= TIMESTAMPTZ '{day} 00:00:00+00'
      AND ts < TIMESTAMPTZ '{day} 00:00:00+00' + INTERVAL 1 DAY
    """,
)
copy(
    "session_events",
    """
    WITH gaps AS (
        SELECT *, CASE WHEN ts - lag(ts) OVER visitor <= INTERVAL 30 MINUTE THEN 0 ELSE 1 END
                  AS starts
        FROM clean_events
        WINDOW visitor AS (PARTITION BY visitor_id ORDER BY ts, event_id)
    ),
    numbered AS (
        SELECT *, sum(starts) OVER (PARTITION BY visitor_id ORDER BY ts, event_id
                                    ROWS UNBOUNDED PRECEDING)::BIGINT AS session_number
        FROM gaps
    )
    SELECT event_id, ts, event_type, visitor_id, user_id, item_id, device, location, price,
           quantity, visitor_id || '-' || session_number AS session_id,
           event_type IN ('view', 'search') AND count(CASE WHEN event_type = 'purchase' THEN 1 END)
               OVER (PARTITION BY visitor_id, session_number, item_id ORDER BY ts DESC, event_id DESC
                     ROWS UNBOUNDED PRECEDING) > 0 AS converted,
           CASE event_type WHEN 'purchase' THEN 8 WHEN 'add_to_cart' THEN 4 WHEN 'search' THEN 2
                           ELSE 1 END AS weight
    FROM numbered
    """,
)
copy(
    "interactions",
    """
    SELECT user_id, item_id, least(sum(weight), 20)::BIGINT AS weight,
           count(*) FILTER (event_type IN ('view', 'search')) AS views,
           count(*) FILTER (event_type = 'add_to_cart') AS carts,
           coalesce(sum(coalesce(quantity, 1)) FILTER (event_type = 'purchase'), 0)::BIGINT
               AS purchases,
           bool_or(converted) AS converted, max(ts) AS last_ts
    FROM session_events WHERE user_id IS NOT NULL GROUP BY user_id, item_id
    """,
)
copy(
    "item_popularity",
    """
    SELECT location, device, item_id, count(DISTINCT visitor_id) AS visitors,
           sum(weight)::BIGINT AS weight
    FROM session_events GROUP BY location, device, item_id
    """,
)
copy(
    "user_profiles",
    """
    WITH activity AS (
        SELECT i.user_id, p.category, p.brand, sum(i.weight) AS weight, sum(i.views) AS views,
               sum(i.purchases) AS purchases, max(i.last_ts) AS last_ts
        FROM interactions AS i LEFT JOIN products AS p ON p.item_id = i.item_id
        GROUP BY ALL
    ),
    by_category AS (
        SELECT user_id, category, sum(weight) AS weight FROM activity GROUP BY user_id, category
    ),
    favourite AS (
        SELECT user_id, category FROM by_category
        QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY weight DESC, category) = 1
    ),
    totals AS (
        SELECT user_id, sum(views)::BIGINT AS views, sum(purchases)::BIGINT AS purchases,
               count(DISTINCT category) AS categories, max(last_ts) AS last_ts
        FROM activity GROUP BY user_id
    )
    SELECT t.user_id, u.segment, u.location, u.signup_date, u.birth_year, t.views, t.purchases,
           t.categories, f.category AS favourite_category, t.last_ts
    FROM totals AS t JOIN favourite AS f USING (user_id) LEFT JOIN users AS u USING (user_id)
    """,
)
