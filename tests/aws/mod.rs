

mod cloud;
mod daily;
mod s3;
mod serving;
pub mod session;
mod state;
