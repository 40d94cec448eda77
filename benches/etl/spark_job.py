"""The SQL part of the sample's daily pipeline on Spark: `spark_job.py LAKE DAY OUT`.

Lines that are no JSON go to a column of their own and are dropped; columns are read as text where a
wrong type must cost the row rather than the value.
"""

import sys

from pyspark.sql import SparkSession

lake, day, out = sys.argv[1:4]
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "8g")
    .config("spark.sql.shuffle.partitions", "4")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.parquet.compression.codec", "zstd")
    .config("spark.sql.ansi.enabled", "false")
    .config("spark.ui.enabled", "false")
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")


def write(name: str, query: str) -> None:
    spark.sql(query).write.mode("overwrite").parquet(f"{out}/{name}.parquet")
    spark.read.parquet(f"{out}/{name}.parquet").createOrReplaceTempView(name)


spark.read.csv(
    f"{lake}/raw/products/products.csv",
    header=True,
    escape='"',
    multiLine=True,
    schema="item_id STRING, name STRING, category STRING, brand STRING, price DOUBLE, launched_on DATE",
).createOrReplaceTempView("product_feed")
spark.read.json(
    f"{lake}/raw/users/users.json.gz",
    schema="user_id STRING, signup_date DATE, location STRING, birth_year BIGINT, segment STRING, marketing_consent BOOLEAN",
).createOrReplaceTempView("user_feed")
text = "event_id ts event_type visitor_id user_id item_id device location user_agent price quantity"
spark.read.json(
    f"{lake}/raw/clickstream/{day.replace('-', '/')}/*/*.json.gz",
    schema=", ".join(f"{name} STRING" for name in [*text.split(), "broken"]),
    columnNameOfCorruptRecord="broken",
).createOrReplaceTempView("clickstream")

write(
    "products",
    """
    SELECT item_id, trim(name) AS name, trim(category) AS category, trim(brand) AS brand, price,
           launched_on
    FROM (SELECT *, row_number() OVER (PARTITION BY item_id
                                       ORDER BY monotonically_increasing_id() DESC) AS place
          FROM product_feed WHERE price > 0)
    WHERE place = 1
    """,
)
write(
    "users",
    """
    SELECT user_id, signup_date, upper(location) AS location, birth_year, segment,
           marketing_consent
    FROM (SELECT *, row_number() OVER (PARTITION BY user_id
                                       ORDER BY monotonically_increasing_id() DESC) AS place
          FROM user_feed)
    WHERE place = 1
    """,
)
spark.sql(
    f"""
    SELECT event_id, to_timestamp(ts) AS ts, event_type, visitor_id, user_id, item_id,
           lower(device) AS device, upper(location) AS location, CAST(price AS DOUBLE) AS price,
           CAST(quantity AS BIGINT) AS quantity
    FROM clickstream
    WHERE broken IS NULL AND event_id IS NOT NULL AND event_type IS NOT NULL
      AND visitor_id IS NOT NULL AND item_id IS NOT NULL AND item_id NOT LIKE '{{%'
      AND device IS NOT NULL AND location IS NOT NULL AND user_agent IS NOT NULL
      AND (price IS NULL OR CAST(price AS DOUBLE) IS NOT NULL)
      AND (quantity IS NULL OR CAST(quantity AS BIGINT) IS NOT NULL)
      AND NOT lower(user_agent) RLIKE '(bot|crawler|spider)'
      AND to_timestamp(ts) >= TIMESTAMP '{day} 00:00:00'
      AND to_timestamp(ts) < TIMESTAMP '{day} 00:00:00' + INTERVAL 1 DAY
    """
).dropDuplicates(["event_id"]).createOrReplaceTempView("typed")
write("clean_events", "SELECT * FROM typed")
write(
    "session_events",
    """
    WITH gaps AS (
        SELECT *, CASE WHEN ts - lag(ts) OVER (PARTITION BY visitor_id ORDER BY ts, event_id)
                       <= INTERVAL 30 MINUTES THEN 0 ELSE 1 END AS starts
        FROM clean_events
    ),
    numbered AS (
        SELECT *, sum(starts) OVER (PARTITION BY visitor_id ORDER BY ts, event_id
                                    ROWS UNBOUNDED PRECEDING) AS session_number
        FROM gaps
    )
    SELECT event_id, ts, event_type, visitor_id, user_id, item_id, device, location, price,
           quantity, concat(visitor_id, '-', session_number) AS session_id,
           event_type IN ('view', 'search') AND count(CASE WHEN event_type = 'purchase' THEN 1 END)
               OVER (PARTITION BY visitor_id, session_number, item_id ORDER BY ts DESC, event_id DESC
                     ROWS UNBOUNDED PRECEDING) > 0 AS converted,
           CAST(CASE event_type WHEN 'purchase' THEN 8 WHEN 'add_to_cart' THEN 4 WHEN 'search' THEN 2
                                ELSE 1 END AS BIGINT) AS weight
    FROM numbered
    """,
)
write(
    "interactions",
    """
    SELECT user_id, item_id, least(sum(weight), 20) AS weight,
           count_if(event_type IN ('view', 'search')) AS views,
           count_if(event_type = 'add_to_cart') AS carts,
           sum(CASE WHEN event_type = 'purchase' THEN coalesce(quantity, 1) ELSE 0 END) AS purchases,
           bool_or(converted) AS converted, max(ts) AS last_ts
    FROM session_events WHERE user_id IS NOT NULL GROUP BY user_id, item_id
    """,
)
write(
    "item_popularity",
    """
    SELECT location, device, item_id, count(DISTINCT visitor_id) AS visitors,
           sum(weight) AS weight
    FROM session_events GROUP BY location, device, item_id
    """,
)
write(
    "user_profiles",
    """
    WITH activity AS (
        SELECT i.user_id, p.category, p.brand, sum(i.weight) AS weight, sum(i.views) AS views,
               sum(i.purchases) AS purchases, max(i.last_ts) AS last_ts
        FROM interactions AS i LEFT JOIN products AS p ON p.item_id = i.item_id
        GROUP BY i.user_id, p.category, p.brand
    ),
    by_category AS (
        SELECT user_id, category, sum(weight) AS weight FROM activity GROUP BY user_id, category
    ),
    favourite AS (
        SELECT user_id, category, row_number() OVER (PARTITION BY user_id
               ORDER BY weight DESC, category ASC NULLS LAST) AS place
        FROM by_category
    ),
    totals AS (
        SELECT user_id, sum(views) AS views, sum(purchases) AS purchases,
               count(DISTINCT category) AS categories, max(last_ts) AS last_ts
        FROM activity GROUP BY user_id
    )
    SELECT t.user_id, u.segment, u.location, u.signup_date, u.birth_year, t.views, t.purchases,
           t.categories, f.category AS favourite_category, t.last_ts
    FROM totals AS t JOIN favourite AS f ON f.user_id = t.user_id AND f.place = 1
    LEFT JOIN users AS u ON u.user_id = t.user_id
    """,
)
spark.stop()
