//! Stand-ins for the AWS services, for tests only: servers on loopback for what nothing else stands
//! in for, and the processes of the stand-ins that come from packages.
//!
//! Everything listens on 127.0.0.1 at a port of its own, and ends with the test process.

mod capacity;
pub mod faults;
pub mod http;
mod operation;
pub mod pressure;
mod process;
pub mod python;
pub mod recorder;
pub mod redshift_data;
pub mod sagemaker;
pub mod stack;
mod upstream;
