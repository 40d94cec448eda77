//! Stand-ins for the AWS services, for tests only: servers on loopback for what nothing else stands
//! in for, and the processes of the stand-ins that come from packages.
//!
//! Everything listens on 127.0.0.1 at a port of its own, and ends with the test process.
//!
//! A test begins with `let Some(stack) = stand_ins::stack::or_skip() else { return };`, takes an account
//! by [`stack::account`] and a bucket by [`stack::Stack::bucket`], and hands
//! [`stack::Stack::variables`] to the process that it tests, with [`recorder::Recorder`],
//! [`pressure::Pressure`] or [`faults::Microburst`] put in front of the services that it is about. The
//! processes are shared by all tests of a test process, so no test may reset one.

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
