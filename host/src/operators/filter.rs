//! `filter`, `filter_value`: some of the rows.

use super::transform;
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator};
use crate::diag::Diagnostics;

const KINDS: &[FunctionKind] = &[FunctionKind::Filter];

/// The operator `filter`.
pub struct Filter;

impl Operator for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn doc(&self) -> &'static str {
        r#"Keeps the rows for which a function returns true.

No row is copied: what is kept is marked. On a keyed stream rows keep their key. A row for which the function returns an
error is treated by `on_error`. See `branch` for the rows that are left out here.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "paid"
op = "filter"
fn = "rules.is_paid"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check(cx, KINDS)
    }
}

/// The operator `filter_value`.
pub struct FilterValue;

impl Operator for FilterValue {
    fn name(&self) -> &'static str {
        "filter_value"
    }

    fn doc(&self) -> &'static str {
        r#"Keeps the rows of a keyed stream for which a function returns true.

As `filter`, but a stream without a key is refused.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `down`.

```toml
[[step]]
name = "paid"
op = "filter_value"
fn = "rules.is_paid"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        transform::check_value(cx, KINDS)
    }
}
