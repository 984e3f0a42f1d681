//! `key_rm`: takes the keys away.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::diag::Diagnostics;

/// The operator `key_rm`.
pub struct KeyRm;

#[derive(serde::Deserialize)]
struct Args {}

impl Operator for KeyRm {
    fn name(&self) -> &'static str {
        "key_rm"
    }

    fn doc(&self) -> &'static str {
        r#"Takes the key away from each row.

The columns of the row stay, that which the key was made from among them. A stream without a key is refused.

Arguments: none.

Ports: `down`, without a key.

```toml
[[step]]
name = "plain"
op = "key_rm"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        cx.up_key()?;
        Ok(Checked::new(KeyRmStep).down(StreamType::unkeyed(cx.up().schema.clone())))
    }
}

struct KeyRmStep;

impl BuildStep for KeyRmStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(stateless(cx, ups, 1, TakeKeys))
    }
}

struct TakeKeys;

impl Stateless for TakeKeys {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, batch.with_keys(None));
        Ok(())
    }
}
