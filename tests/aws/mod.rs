mod serving;
mod session;
