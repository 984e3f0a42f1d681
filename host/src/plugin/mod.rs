//! WebAssembly components as functions, sources and sinks: the only layer that knows wasmtime.

mod bindings;
mod convert;
pub mod engine;
mod failure;
mod fold;
mod identify;
mod instance;
pub mod library;
mod open;
pub mod project;
mod schema;
mod sink;
mod source;
mod stateful;
mod states;
mod transform;
mod validate;
pub mod wasi;

#[cfg(test)]
mod round_trips;
#[cfg(test)]
mod tests;
