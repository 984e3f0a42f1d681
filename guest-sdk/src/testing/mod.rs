//! Runs functions natively under `cargo test`, with no Wasm: rows in, rows out.
//!
//! The functions run by the same code as behind the component's exports: they are opened with a schema, columns are
//! bound by name, and batches of columns go in and out.
//!
//! ```
//! use wxhost_guest::prelude::*;
//! use wxhost_guest::testing;
//!
//! #[filter_map(extend)]
//! fn domain(email: &str) -> Option<Domain<'_>> {
//!     let (_, domain) = email.split_once('@')?;
//!     Some(Domain { domain })
//! }
//!
//! #[derive(Row)]
//! struct Domain<'a> {
//!     domain: &'a str,
//! }
//!
//! let output = testing::transform::<domain>().run(testing::json(
//!     r#"{"id": 1, "email": "ada@example.com"}
//!        {"id": 2, "email": "nobody"}"#,
//! ));
//! assert_eq!(output.json_lines(), r#"{"domain":"example.com","email":"ada@example.com","id":1}"#);
//! assert_eq!(output.parents, [0]);
//! ```

mod folds;
mod functions;
pub(crate) mod recorder;
mod rows;
mod sinks;
mod sources;
mod stateful;
mod transforms;
mod windows;

pub use folds::{FoldTest, fold, reduce};
pub use functions::{FunctionInfo, functions};
pub use recorder::{Level, set_now, take_counts, take_logs};
pub use rows::{IntoRows, Rows, json, json_as};
pub use sinks::{SinkTest, sink};
pub use sources::{SourceTest, source};
pub use stateful::{KeyedRows, StatefulTest, stateful};
pub use transforms::{Output, TransformTest, transform};
pub use windows::{Closed, Windower, WindowsTest, reduce_windows, windows};
