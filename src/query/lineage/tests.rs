//! Queries with the lineage that they have, and a search for lineage that is missing.

mod influence_on_data;
mod queries;
