//! The average of the values in a window, and the time of a reading that is written without leading zeros.

use wxhost_guest::prelude::*;

#[derive(Row)]
struct Reading<'a> {
    time: &'a str,
}

/// Tells when a reading was taken: `2023-1-1T00:00:07Z`, which is RFC 3339 but for its short month and day.
#[map]
fn event_time(reading: Reading<'_>) -> Result<Timestamp> {
    let (date, time) = reading.time.split_once('T').unwrap_or((reading.time, "00:00:00Z"));
    let parts: Vec<String> = date.split('-').map(|part| format!("{part:0>2}")).collect();
    Ok(format!("{}T{time}", parts.join("-")).parse()?)
}

#[derive(Row)]
struct Value {
    value: f64,
}

#[derive(Row)]
struct Mean {
    average: f64,
}

/// Averages the column `value`.
#[derive(Default, State)]
struct Average {
    sum: f64,
    count: u64,
}

impl Fold for Average {
    type In<'a> = Value;
    type Out = Mean;

    fn fold(&mut self, row: Value) {
        self.sum += row.value;
        self.count += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn finish(&self) -> Mean {
        Mean { average: self.sum / self.count as f64 }
    }
}

plugin!(event_time, Average);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing::{self, fold, transform};

    use super::*;

    #[test]
    fn short_months_and_days_are_read() {
        let output = transform::<event_time>().run(testing::json(
            r#"{"time": "2023-1-1T00:00:07Z"} {"time": "2023-11-30T00:00:07.5Z"} {"time": "2023-1"} {"time": ""}"#,
        ));
        assert_eq!(output.texts(), ["2023-01-01T00:00:07Z", "2023-11-30T00:00:07.500Z"]);
        assert_eq!(output.errors.iter().map(|error| error.0).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn averages_go_on_from_where_they_were_and_merge() {
        let mut test = fold::<Average>();
        test.update("123", [Value { value: 5.0 }, Value { value: 7.0 }]);
        test.resume();
        assert_eq!(test.finish("123")["average"], 6.0);
        test.update("late", [Value { value: 0.0 }]);
        test.merge("123", "late");
        assert_eq!(test.finish("123")["average"], 4.0);
    }
}
