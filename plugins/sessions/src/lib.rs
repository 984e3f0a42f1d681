//! Visits of a web site: what a user did between two pauses.

use wxhost_guest::prelude::*;

#[derive(Row)]
struct Event<'a> {
    event_timestamp: Timestamp,
    page_url_path: &'a str,
}

#[derive(Row)]
struct VisitRow {
    pages: u32,
    entry: Option<String>,
    exit: Option<String>,
    seconds: f64,
}

/// Sums up a visit: how many pages, where it began and ended, how long it took.
#[derive(Default, State)]
struct Visit {
    pages: u32,
    first: Option<(i64, String)>,
    last: Option<(i64, String)>,
}

impl Fold for Visit {
    type In<'a> = Event<'a>;
    type Out = VisitRow;

    fn fold(&mut self, event: Event<'_>) {
        let at = event.event_timestamp.micros();
        self.pages += 1;
        if self.first.as_ref().is_none_or(|first| at < first.0) {
            self.first = Some((at, event.page_url_path.to_owned()));
        }
        if self.last.as_ref().is_none_or(|last| at >= last.0) {
            self.last = Some((at, event.page_url_path.to_owned()));
        }
    }

    fn merge(&mut self, other: Self) {
        self.pages += other.pages;
        self.first = [self.first.take(), other.first].into_iter().flatten().min_by_key(|first| first.0);
        self.last = [self.last.take(), other.last].into_iter().flatten().max_by_key(|last| last.0);
    }

    fn finish(&self) -> VisitRow {
        let time = |end: &Option<(i64, String)>| end.as_ref().map_or(0, |end| end.0);
        VisitRow {
            pages: self.pages,
            entry: self.first.as_ref().map(|first| first.1.clone()),
            exit: self.last.as_ref().map(|last| last.1.clone()),
            seconds: (time(&self.last) - time(&self.first)) as f64 / 1e6,
        }
    }
}

plugin!(Visit);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing::{fold, json_as};

    use super::*;

    const TYPES: &[(&str, &str)] = &[("event_timestamp", "timestamp"), ("page_url_path", "string")];

    #[test]
    fn a_visit_is_the_same_in_whatever_order_its_events_come() {
        let mut test = fold::<Visit>();
        test.update("late", json_as(r#"{"event_timestamp": "2024-05-01T10:07:30Z", "page_url_path": "/bye"}"#, TYPES));
        test.update(
            "early",
            json_as(
                r#"{"event_timestamp": "2024-05-01T10:00:10Z", "page_url_path": "/shop"}
                   {"event_timestamp": "2024-05-01T10:00:00Z", "page_url_path": "/"}"#,
                TYPES,
            ),
        );
        test.resume();
        test.merge("early", "late");
        let visit = test.finish("early");
        assert_eq!((&visit["pages"], &visit["seconds"]), (&3.into(), &450.0.into()));
        assert_eq!((&visit["entry"], &visit["exit"]), (&"/".into(), &"/bye".into()));
    }
}
