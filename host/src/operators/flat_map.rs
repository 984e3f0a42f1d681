//! `flat_map`, `flat_map_value`, `flat_map_batch`: any number of rows for each row.

use super::transform;
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator};
use crate::diag::Diagnostics;

const KINDS: &[FunctionKind] = &[FunctionKind::FlatMap, FunctionKind::FilterMap];

/// The operator `flat_map`.
pub struct FlatMap;

impl Operator for FlatMap {
    fn name(&self) -> &'static str {
        "flat_map"
    }

    fn doc(&self) -> &'static str {
        r#"Makes any number of rows of each row.

Rows come out in the order of the rows that they were made of. On a keyed stream they have the key of that row. A row
for which the function returns an error is treated by `on_error`, and nothing is made of it.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "tokenize"
op = "flat_map"
fn = "words.tokenize"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check(cx, KINDS)
    }
}

/// The operator `flat_map_value`.
pub struct FlatMapValue;

impl Operator for FlatMapValue {
    fn name(&self) -> &'static str {
        "flat_map_value"
    }

    fn doc(&self) -> &'static str {
        r#"Makes any number of rows of each row of a keyed stream, all with its key.

As `flat_map`, but a stream without a key is refused.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "items"
op = "flat_map_value"
fn = "orders.items"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check_value(cx, KINDS)
    }
}

/// The operator `flat_map_batch`.
pub struct FlatMapBatch;

impl Operator for FlatMapBatch {
    fn name(&self) -> &'static str {
        "flat_map_batch"
    }

    fn doc(&self) -> &'static str {
        r#"Makes any number of rows of the rows at hand, a batch at a time.

For functions that gain from seeing many rows at once. Where a batch begins and ends is up to the runtime: it depends on
the source, on the number of workers and on timing, so that no result may depend on it. Each row returned still names
the row that it was made of, whose key and place it keeps.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "embed"
op = "flat_map_batch"
fn = "model.embed"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check(cx, KINDS)
    }
}
