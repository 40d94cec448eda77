

mod athena;
mod cloud;
mod daily;
mod glue;
mod s3;
mod serving;
pub mod session;
mod state;
