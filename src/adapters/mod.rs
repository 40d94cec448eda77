//! What stands behind the ports: one folder a target.

pub mod absent;
pub mod aws;
pub mod local;
