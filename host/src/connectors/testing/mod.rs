//! `testing`: rows and events of a script.

mod reader;
mod script;

use super::format::rows_format;
use super::paths;
use crate::catalog::connector::{CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::catalog::operator::StreamType;
use crate::diag::Diagnostics;
use crate::spec::{Node, Spanned, Value};
use std::num::NonZeroUsize;

pub use reader::{Pacing, Script};
pub use script::{Item, of_nodes, of_text, wrong};

/// The connector `testing`.
pub(super) struct Testing;

#[derive(serde::Deserialize)]
struct Args {
    testing: Node,
    schema: Option<Node>,
    batch_size: Option<NonZeroUsize>,
    #[serde(default)]
    pacing: Pacing,
}

impl Connector for Testing {
    fn name(&self) -> &'static str {
        "testing"
    }

    fn doc(&self) -> &'static str {
        "Gives the rows of a script, one partition on one worker.

The script stands in the flow, or in a file of JSON lines. Besides rows it has events, tables with one key:

- `{ \"@pause\" = \"2s\" }`: nothing comes for so long.
- `{ \"@now\" = \"2024-01-01T00:00:10Z\" }`: nothing comes before this time. Needs a clock that the flow moves, as that of
  `wxhost test`.
- `{ \"@end\" = true }`: the input ends here for this execution; one that resumes goes on behind it.
- `{ \"@abort\" = true }`: the execution ends as in a crash, once; one that resumes goes on.

In `wxhost test` time is the script's, and pauses take none. It stands still while anything is under way. When all
sources wait and everything before is through the flow, it goes on to the earliest time that a step or a source waits
for. There, steps come first; then the first of the sources whose time has come goes on alone until it waits again.

Arguments:

- `testing`: an array of tables (or of plain values, which become the column `value`), or the path of a file.
- `schema`: the columns, as of json in `file`. Default: told from all rows.
- `batch_size` (default 1): rows of a batch.
- `pacing` (default `\"free\"`): with `\"drained\"`, a batch comes when the one before is through the whole flow.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { testing = [{ user = \"ann\", value = 1.5 }, { \"@pause\" = \"1s\" }, { user = \"bob\", value = 2.0 }] }
```
"
    }

    fn is_source(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let args: Args = cx.args()?;
        let (name, items) = match &args.testing.value {
            Value::String(path) => {
                let path = Spanned::new(args.testing.span.clone(), path.clone());
                let file = paths::text_file(cx, &path)?;
                let text = std::fs::read_to_string(&file).map_err(|error| paths::refused(cx, &path, &error))?;
                (path.value.clone(), script::of_text(&cx.what(), &path, &text)?)
            }
            Value::Array(nodes) => ("script".to_owned(), script::of_nodes(&cx.what(), nodes)?),
            other => {
                return Err(script::wrong(&cx.what(), &args.testing.span, &format!("is {}", other.describe())).into());
            }
        };
        let mut rows = String::new();
        for item in &items {
            if let Item::Row(row) = item {
                rows.push_str(row);
                rows.push('\n');
            }
        }
        let mut notes = Vec::new();
        let format = rows_format(cx, args.schema, &name, rows.as_bytes(), &mut notes)?;
        let down = StreamType::unkeyed(format.schema());
        let batch_size = args.batch_size.map_or(1, NonZeroUsize::get);
        let script = Script::new(name, items.into(), format, batch_size, args.pacing);
        Ok(CheckedSource { down, parts: Box::new(script), notes })
    }
}
