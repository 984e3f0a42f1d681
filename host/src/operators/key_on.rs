//! `key_on`: gives each row a key.

use super::keying::Keying;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;

/// The operator `key_on`.
pub struct KeyOn;

#[derive(serde::Deserialize)]
struct Args {
    key: Option<Spanned<String>>,
    #[serde(rename = "fn")]
    function: Option<Spanned<String>>,
    config: Option<serde_json::Value>,
    key_name: Option<String>,
}

impl Operator for KeyOn {
    fn name(&self) -> &'static str {
        "key_on"
    }

    fn doc(&self) -> &'static str {
        r#"Gives each row a key, which is what keyed steps work by.

The key is text: that of a column (numbers, instants and days are written out as JSON has them), or what a function
returns. It stands beside the row, whose columns stay as they are. All rows of one key are handled by one worker in
steps that remember. A row whose key is null is treated by `on_error`.

Arguments: `key`, a column, or `fn`, a function that returns the key, with its `config`; `key_name`, the name under
which sinks write the key, if it is not to be the column's (or `key`, for a function).

Ports: `down`, keyed.

```toml
[[step]]
name = "by_page"
op = "key_on"
key = "page_url_path"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let name = args.key_name.as_deref();
        let keying = Keying::check(cx, args.key.as_ref(), args.function.as_ref(), args.config.as_ref(), name)?;
        let Some(keying) = keying else {
            let message = format!("missing \"key\" in {}", cx.what());
            let help = "write key = \"<column>\", or fn = \"<plugin>.<function>\"";
            return Err(Diagnostic::new("missing-key", message).at(cx.step.span.clone()).help(help).into());
        };
        let down = StreamType { schema: cx.up().schema.clone(), key: Some(keying.name.clone()) };
        let notes = keying.note.iter().cloned().collect();
        let mut checked = Checked::new(KeyOnStep { keying }).down(down);
        checked.notes = notes;
        Ok(checked)
    }
}

struct KeyOnStep {
    keying: Keying,
}

impl BuildStep for KeyOnStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        self.keying.add(cx, ups)
    }
}
