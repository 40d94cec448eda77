mod s3;
mod session;
mod state;
