mod athena;
mod glue;
mod session;
