//! From a stream of web events to partitioned Parquet files: the source of the events, and the columns that date them.

mod simulation;
mod web_events;

use wxhost_guest::prelude::*;

use crate::web_events::WebEvents;

#[derive(Row)]
struct Event<'a> {
    event_timestamp: &'a str,
}

#[derive(Row)]
struct Day {
    year: i32,
    month: u32,
    day: u32,
}

/// Adds the columns that partition the Parquet files.
#[map(extend)]
fn add_date_columns(event: Event<'_>) -> Result<Day> {
    let at: Timestamp = event.event_timestamp.parse()?;
    Ok(Day { year: at.year(), month: at.month(), day: at.day() })
}

plugin!(WebEvents as web_events, add_date_columns);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing::{self, transform};

    use super::*;

    #[test]
    fn events_are_dated() {
        let output = transform::<add_date_columns>()
            .run(testing::json(r#"{"page_url_path": "/path", "event_timestamp": "2022-01-02 03:04:05.000006"}"#));
        assert_eq!(
            output.json_lines(),
            r#"{"day":2,"event_timestamp":"2022-01-02 03:04:05.000006","month":1,"page_url_path":"/path","year":2022}"#
        );
    }

    #[test]
    fn an_event_without_a_time_is_an_error_of_its_own() {
        let output = transform::<add_date_columns>()
            .run([Event { event_timestamp: "soon" }, Event { event_timestamp: "2024-02-29" }]);
        assert_eq!(output.errors.len(), 1);
        assert_eq!(output.rows[0]["day"], 29);
    }
}
