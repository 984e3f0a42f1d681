//! `filter_map`, `filter_map_value`: one row or none for each row.

use super::transform;
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator};
use crate::diag::Diagnostics;

const KINDS: &[FunctionKind] = &[FunctionKind::FilterMap, FunctionKind::Map];

/// The operator `filter_map`.
pub struct FilterMap;

impl Operator for FilterMap {
    fn name(&self) -> &'static str {
        "filter_map"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each row, or none.

A row is dropped only if the function returns nothing for it; zero, empty text and false are rows like any other. On a
keyed stream rows keep their key. A row for which the function returns an error is treated by `on_error`.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "mask"
op = "filter_map"
fn = "mails.mask"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check(cx, KINDS)
    }
}

/// The operator `filter_map_value`.
pub struct FilterMapValue;

impl Operator for FilterMapValue {
    fn name(&self) -> &'static str {
        "filter_map_value"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each row of a keyed stream, or none, and leaves its key alone.

As `filter_map`, but a stream without a key is refused.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "mask"
op = "filter_map_value"
fn = "mails.mask"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check_value(cx, KINDS)
    }
}
