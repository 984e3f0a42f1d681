//! `parquet`: Parquet files, one or a folder of them.
//!
//! ```text
//! source   files -> batches, on the thread that reads
//! encode   batches -> bytes of files, on the worker
//! sink     the arguments, and bytes -> files
//! kept     the same with recovery: spill (rows of open files), manifest (what a store knows)
//! split    rows -> rows of equal values
//! hive     values <-> folders
//! table    files that commands write
//! ```

mod encode;
mod hive;
mod kept;
mod manifest;
mod sink;
mod source;
mod spill;
mod split;
pub(crate) mod table;

use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::ConnectorCx;
use crate::diag::Diagnostics;

/// The connector `parquet`.
pub(super) struct Parquet;

impl Connector for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn doc(&self) -> &'static str {
        "Reads or writes Parquet files, also in folders that carry values (`year=2024/month=1/…`).

As a source, each file is a partition, and they are shared over the workers. All files have the columns of the first one;
a column that a file lacks is null in its rows. Folders called `NAME=VALUE` add a column: `int64` if all its values are
integers, else `string`. Text, timestamps and small integers of any Arrow form become `string`, `timestamp`, `int32`. With
recovery, a file that was replaced since rows of it were read is refused.

Arguments of the source:

- `parquet`: a file or a folder.
- `glob` (default `\"**/*.parquet\"`): which files of a folder.
- `columns`: which columns to read, in this order. Default: all.

```toml
[[step]]
name = \"events\"
op = \"input\"
source = { parquet = \"events\", columns = [\"user\", \"value\"] }
```

As a sink, each worker writes files of its own, called `part-RUN-WORKER-NUMBER.parquet`. A file gets its name when it is
whole, so that readers never see a part of one. Files end with the input, or by `roll_rows`, `roll_size` and `roll_time`.
Of the values of `partition_by` each has a folder, escaped as Hive and Spark do; a null is `__HIVE_DEFAULT_PARTITION__`.
These columns are not in the files. At most 256 files are open on a worker; for another one, the one written least
recently ends. On a keyed stream the key is the first column, unless the row has a column of its name.

Arguments of the sink:

- `parquet`: the folder; it is made.
- `partition_by`: columns that name folders, outermost first: strings, integers, booleans, dates, timestamps.
- `compression` (default `\"snappy\"`): or `\"zstd\"`, `\"lz4\"`, `\"gzip\"`, `\"none\"`.
- `roll_rows`, `roll_size`, `roll_time`: a file ends with so many rows, about so many bytes, or at the end of the epoch in
  which it is so old, such as `1000000`, `\"256MiB\"`, `\"5m\"`. Default: no end before that of the input.
- `row_group_rows` (default 1048576): rows of a row group at most.
- `if_exists` (default `\"append\"`): `\"fail\"` refuses a folder with Parquet files in it; `\"replace\"` removes those of earlier
  executions when the input has ended. With recovery, both only concern what is there when the first execution of a store
  begins, and it is replaced when the first files of the store appear, or the input ends.

With recovery, each row is in the files exactly once, through any crash. A file gets its name when the epoch in which it
was finished is durable. Rows of files that are not finished are kept in hidden files in the folder, and an execution that
goes on makes their files anew, so let files end by `roll_rows`, `roll_size` or `roll_time` where the input has no end.
`roll_time` counts on over executions, also while none runs. Finished files may be taken away; hidden ones must stay.

```toml
[[step]]
name = \"out\"
op = \"output\"
sink = { parquet = \"out\", partition_by = [\"year\", \"month\"], roll_size = \"256MiB\" }
```
"
    }

    fn is_source(&self) -> bool {
        true
    }

    fn is_sink(&self) -> bool {
        true
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        source::check(cx)
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        sink::check(cx)
    }
}
