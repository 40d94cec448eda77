//! What stands behind the ports: one folder a target.

pub mod aws;
pub mod local;
