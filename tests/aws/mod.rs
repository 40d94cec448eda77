mod registry;
mod session;
mod trainer;
mod tuning;
