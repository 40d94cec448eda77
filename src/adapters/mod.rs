//! What stands behind the ports: one folder a target.

pub mod local;
