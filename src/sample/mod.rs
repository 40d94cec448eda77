//! Generates raw input for the embedded lake: a shop's click-stream, products and users, from a seed.
//!
//! Under the output folder come to be
//!
//! * `raw/clickstream/YYYY/MM/DD/HH/part-NNNN.json.gz`: events as JSON lines, at most 50,000 a file, several gzip
//!   members a file, as a delivery stream leaves them. The folder is the hour of arrival in UTC;
//!   a day of few lines has files for its busiest hours only.
//! * `raw/products/products.csv`: `item_id,name,category,brand,price,launched_on`.
//! * `raw/users/users.json.gz`: JSON lines with `user_id`, `signup_date`, `location`, `birth_year` (nullable),
//!   `segment` (`vip`, `regular`, `casual`, `new`) and `marketing_consent`.
//!
//! An event has these fields:
//!
//! | field | type | there |
//! |---|---|---|
//! | `event_id` | string, a version 4 UUID | always |
//! | `ts` | string, ISO 8601 with milliseconds, `Z` or for one in ten an offset | always |
//! | `event_type` | `view`, `search` (a click on a result), `add_to_cart`, `purchase` | always |
//! | `visitor_id` | string, 16 hexadecimal digits (a cookie) | always |
//! | `user_id` | string, `u` and seven digits | null or absent for 15 % (no account) |
//! | `item_id` | string, `P` and five digits | always |
//! | `device` | `mobile`, `desktop`, `tablet`, `app` | always |
//! | `location` | string, ISO 3166-1 alpha-2 | always |
//! | `user_agent` | string | always |
//! | `price` | number with two decimals | `add_to_cart`, `purchase` |
//! | `quantity` | integer, 1 to 4 | `purchase` |
//! | `experiment` (string), `utm` (object), `schema_version` (integer) | extra | one of them in 5 % of lines |
//!
//! People have tastes: each visitor a mixture of four of twenty themes, which drifts; each item a theme or two, and a
//! popularity in each that depends on the place. Devices and niches shift it further. Over the days a visitor meets
//! other items of the same themes, and buys some again. Of the lines 2 % are copies, 1 % bots' events, 0.5 % lie
//! outside their folder's day and 0.1 % are malformed; [`SampleCounts`] says how these are told apart.

mod audience;
mod catalogue;
mod dirt;
mod error;
mod event;
mod files;
mod lines;
mod options;
mod people;
mod schedule;
mod seed;
mod summary;
mod tastes;
mod visitors;
mod words;
mod work;

#[cfg(test)]
mod tests;

pub use error::SampleError;
pub use options::{
    DAYS, EVENTS, ITEMS, SampleOptions, THREADS, USERS, YEARS, default_items, default_users,
};
pub use summary::{MalformedCounts, SampleCounts, SampleDay, SampleSummary};
pub use work::{SampleProgress, generate};
