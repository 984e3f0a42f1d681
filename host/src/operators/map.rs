//! `map`, `map_value`: one row for each row.

use super::transform;
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator};
use crate::diag::Diagnostics;

const KINDS: &[FunctionKind] = &[FunctionKind::Map];

/// The operator `map`.
pub struct Map;

impl Operator for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each row.

The function returns the new row; one that is declared to extend rows returns only the columns that it adds or replaces,
and the others stay. On a keyed stream rows keep their key. A row for which the function returns an error is treated by
`on_error`.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "add_date_columns"
op = "map"
fn = "events.add_date_columns"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check(cx, KINDS)
    }
}

/// The operator `map_value`.
pub struct MapValue;

impl Operator for MapValue {
    fn name(&self) -> &'static str {
        "map_value"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each row of a keyed stream, and leaves its key alone.

As `map`, but a stream without a key is refused.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "clean"
op = "map_value"
fn = "events.clean"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check_value(cx, KINDS)
    }
}
