"""The SQL part of the sample's daily pipeline on Polars: `polars_job.py LAKE DAY OUT`.

Polars stops at a line that is no JSON or no UTF-8, whether errors are ignored or not, so such lines
are taken out in Python first. Columns are read as text where a wrong type must cost the row rather
than the value.
"""

import glob
import gzip
import io
import json
import sys
from datetime import datetime, timedelta, timezone

import polars as pl

lake, day, out = sys.argv[1:4]
start = datetime.fromisoformat(day).replace(tzinfo=timezone.utc)
end = start + timedelta(days=1)


def write(name: str, frame: pl.LazyFrame) -> pl.LazyFrame:
    made = frame.collect(engine="streaming")
    made.write_parquet(f"{out}/{name}.parquet", compression="zstd", compression_level=1)
    return made.lazy()


products = write(
    "products",
    pl.scan_csv(
        f"{lake}/raw/products/products.csv",
        schema={
            "item_id": pl.String,
            "name": pl.String,
            "category": pl.String,
            "brand": pl.String,
            "price": pl.Float64,
            "launched_on": pl.Date,
        },
    )
    .filter(pl.col("price") > 0)
    .unique("item_id", keep="last", maintain_order=True)
    .with_columns(pl.col("name", "category", "brand").str.strip_chars(" ")),
)
users = write(
    "users",
    pl.scan_ndjson(
        f"{lake}/raw/users/users.json.gz",
        schema={
            "user_id": pl.String,
            "signup_date": pl.String,
            "location": pl.String,
            "birth_year": pl.Int64,
            "segment": pl.String,
            "marketing_consent": pl.Boolean,
        },
    )
    .with_columns(
        pl.col("signup_date").str.to_date("%Y-%m-%d"), pl.col("location").str.to_uppercase()
    )
    .unique("user_id", keep="last", maintain_order=True),
)
text = ["event_id", "ts", "event_type", "visitor_id", "user_id", "item_id", "device", "location"]
schema = {name: pl.String for name in [*text, "user_agent", "price", "quantity"]}


def is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def read(path: str) -> pl.DataFrame:
    with gzip.open(path) as file:
        lines = file.read().split(b"\n")
    # What is cut off or something else altogether; the few others are found by asking for each.
    lines = [line for line in lines if line.startswith(b'{"') and line.endswith(b"}")]
    try:
        return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=schema, ignore_errors=True)
    except pl.exceptions.ComputeError:
        lines = [line for line in lines if is_json(line)]
        return pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=schema, ignore_errors=True)


paths = sorted(glob.glob(f"{lake}/raw/clickstream/{day.replace('-', '/')}/*/*.json.gz"))
events = pl.concat([read(path) for path in paths]).lazy()
needed = ["event_id", "event_type", "visitor_id", "item_id", "device", "location", "user_agent"]
clean = write(
    "clean_events",
    events.filter(
        pl.all_horizontal(pl.col(needed).is_not_null()),
        ~pl.col("item_id").str.starts_with("{"),
        ~pl.col("user_agent").str.contains("(?i)(bot|crawler|spider)"),
    )
    .with_columns(
        # Two shapes of time: in UTC, and with an offset.
        ts=pl.coalesce(
            pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
            .dt.replace_time_zone("UTC"),
            pl.col("ts").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False),
        ),
        number=pl.col("price").cast(pl.Float64, strict=False),
        count=pl.col("quantity").cast(pl.Int64, strict=False),
        device=pl.col("device").str.to_lowercase(),
        location=pl.col("location").str.to_uppercase(),
    )
    .filter(
        pl.col("price").is_null() | pl.col("number").is_not_null(),
        pl.col("quantity").is_null() | pl.col("count").is_not_null(),
        pl.col("ts") >= start,
        pl.col("ts") < end,
    )
    .select(*text, price="number", quantity="count")
    .unique("event_id", keep="any"),
)
ordered = clean.sort("visitor_id", "ts", "event_id")
starts = (
    (pl.col("visitor_id") != pl.col("visitor_id").shift(1))
    | (pl.col("ts") - pl.col("ts").shift(1) > timedelta(minutes=30))
).fill_null(True)
# A session's number within its visitor: all starts so far less those before the visitor's first.
sessions = write(
    "session_events",
    ordered.with_columns(all_starts=starts.cast(pl.Int64).cum_sum())
    .with_columns(
        session_number=pl.col("all_starts")
        - pl.col("all_starts").first().over("visitor_id")
        + 1
    )
    .with_columns(
        bought=(pl.col("event_type") == "purchase")
        .cast(pl.Int64)
        .cum_sum(reverse=True)
        .over("all_starts", "item_id")
    )
    .select(
        *text,
        "price",
        "quantity",
        session_id=pl.format("{}-{}", "visitor_id", "session_number"),
        converted=pl.col("event_type").is_in(["view", "search"]) & (pl.col("bought") > 0),
        weight=pl.col("event_type").replace_strict(
            {"purchase": 8, "add_to_cart": 4, "search": 2}, default=1, return_dtype=pl.Int64
        ),
    ),
)
kind = pl.col("event_type")
labels = write(
    "interactions",
    sessions.filter(pl.col("user_id").is_not_null())
    .group_by("user_id", "item_id")
    .agg(
        weight=pl.min_horizontal(pl.col("weight").sum(), pl.lit(20, pl.Int64)),
        views=kind.is_in(["view", "search"]).sum().cast(pl.Int64),
        carts=(kind == "add_to_cart").sum().cast(pl.Int64),
        purchases=pl.when(kind == "purchase").then(pl.col("quantity").fill_null(1)).sum(),
        converted=pl.col("converted").any(),
        last_ts=pl.col("ts").max(),
    ),
)
write(
    "item_popularity",
    sessions.group_by("location", "device", "item_id").agg(
        visitors=pl.col("visitor_id").n_unique().cast(pl.Int64), weight=pl.col("weight").sum()
    ),
)
activity = (
    labels.join(products, on="item_id", how="left")
    .group_by("user_id", "category", "brand")
    .agg(pl.col("weight", "views", "purchases").sum(), pl.col("last_ts").max())
)
favourite = (
    activity.group_by("user_id", "category")
    .agg(pl.col("weight").sum())
    .sort(["weight", "category"], descending=[True, False], nulls_last=True)
    .unique("user_id", keep="first", maintain_order=True)
    .select("user_id", favourite_category="category")
)
write(
    "user_profiles",
    activity.group_by("user_id")
    .agg(
        pl.col("views", "purchases").sum(),
        categories=pl.col("category").drop_nulls().n_unique().cast(pl.Int64),
        last_ts=pl.col("last_ts").max(),
    )
    .join(favourite, on="user_id")
    .join(users, on="user_id", how="left")
    .select(
        "user_id",
        "segment",
        "location",
        "signup_date",
        "birth_year",
        "views",
        "purchases",
        "categories",
        "favourite_category",
        "last_ts",
    ),
)
