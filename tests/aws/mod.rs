//! The AWS target against what stands in for its services.

mod doctor;
