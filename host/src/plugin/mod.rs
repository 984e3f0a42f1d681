//! WebAssembly components as functions, sources and sinks: the only layer that knows wasmtime.

mod bindings;
mod convert;
mod schema;
mod validate;
