//! What `recctl validate` finds, and that nothing makes it fall over.

mod at_once;
mod mutations;
mod rules;
