//! What the reference texts of all window operators say alike.

/// The arguments and ports that window operators share, for `concat!`. Put it behind the operator's own arguments, each
/// of which is an entry of a list; it ends with the ports.
macro_rules! shared_doc {
    () => {
        r#"- `clock`, where times come from: `"system"`, rows happen as they come; or `{ event = "column", wait = "10s" }`,
  a column of type `timestamp` or `date`, or of text such as `2022-01-02T03:04:05Z`; or `{ fn = "plugin.when" }`, a map
  function that returns one timestamp, with its `config`. Each key has its own watermark: the latest time seen, less
  `wait` (default `"0s"`). With `watermark = "stream"` (default `"key"`) all keys have one: that of the partition of
  its sources that is furthest behind, until that has ended. A watermark also goes on while all sources are idle, unless
  `idle = "hold"` (default `"advance"`).
- `window`, how a key's rows are cut: `{ tumbling = "5s" }`, side by side; `{ sliding = "10s", every = "5s" }`, where a
  row is in several; both with `align_to`, a time at which one begins (default `1970-01-01T00:00:00Z`); or
  `{ session = "30s" }`, rows at most so far apart. A window closes when the watermark has reached its end (of a
  session, when it is more than the gap past the last row), and when the input ends. Windows of a key close in the
  order of their ends.
- `late`, which rows are late: `"watermark"` (default), those behind their key's watermark; `"window"`, those whose
  window has closed. With `watermark = "stream"` it is the watermark of a row's own partition that decides, even if the
  stream is further behind.
- `with`, columns to add to the rows: some of `["window_id", "open_time", "close_time"]`. The times of a session are
  null in rows that come out before it closes, other than early results.
- `forget_after`, the system time without rows after which a key's watermark is forgotten (default `"24h"`).

Ports: `down`; `late`, the rows that were late, with `window_id`, once for each window they were late for (-1 for
sessions); `meta`, for each window that has closed `window_id`, `open_time`, `close_time` and `merged_ids`, the sessions
that became part of it. All are keyed.
"#
    };
}

/// The entry of the argument `ordered`, of operators that take it.
macro_rules! ordered_doc {
    () => {
        r#"- `ordered`, whether rows enter their windows by their times (`true`, the default), for which they wait until the
  watermark has reached them; or as they come (`false`).
"#
    };
}

/// The entries of the arguments for early results, of operators that have them.
macro_rules! early_doc {
    () => {
        r#"- `emit`, `"final"` (default), one result when a window closes; or `"running"`, also early ones of the windows that
  have changed, `every` so much system time at most (default `"1s"`).
"#
    };
}

pub(in super::super) use {early_doc, ordered_doc, shared_doc};
