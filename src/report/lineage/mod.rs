//! Lineage for people and programs: a tree, a page to look around in, Mermaid, JSON.

mod html;
mod json;
mod mermaid;
mod text;

pub use html::html;
pub use json::json;
pub use mermaid::mermaid;
pub use text::text;

#[cfg(test)]
mod tests;
