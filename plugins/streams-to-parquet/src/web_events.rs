//! The source of simulated web events.

use wxhost_guest::prelude::*;

use crate::simulation::Simulation;

/// What a flow may set.
#[derive(Config)]
pub struct Settings {
    /// How many users there are.
    #[serde(default = "default_users")]
    users: usize,
    /// How often each user comes to the site a day, on the average.
    #[serde(default = "default_sessions")]
    sessions_per_day: f64,
    /// Ends after so many seconds of simulated time.
    seconds: Option<u64>,
    /// Ends after so many events.
    rows: Option<u64>,
    /// Chooses the events: the same seed gives the same events.
    #[serde(default)]
    seed: u64,
    /// When the simulation begins.
    #[serde(default = "default_start")]
    start: Timestamp,
}

fn default_users() -> usize {
    5
}

fn default_sessions() -> f64 {
    100.0
}

/// 2024-01-01T00:00:00Z: fixed, so that a flow that does not choose gives the same files each time.
fn default_start() -> Timestamp {
    Timestamp::from_seconds(1_704_067_200)
}

/// Simulated web events, one JSON text each.
pub struct WebEvents {
    settings: Settings,
}

impl Source for WebEvents {
    const DOC: &'static str = "Simulates people on a website; each row is the JSON text of an event.";
    type Config = Settings;
    type Part = Events;

    fn new(settings: Settings) -> Result<Self> {
        if settings.users == 0 {
            return Err(Error::user("config: users must be at least 1"));
        }
        if !(settings.sessions_per_day > 0.0 && settings.sessions_per_day.is_finite()) {
            return Err(Error::user("config: sessions_per_day must be above 0"));
        }
        Ok(Self { settings })
    }

    fn build_part(&self, _: &str, resume: Option<Position>) -> Result<Events> {
        let Settings { users, sessions_per_day, seconds, rows, seed, start } = self.settings;
        let position = resume
            .unwrap_or_else(|| Position { simulation: Simulation::new(seed, users, sessions_per_day, start), rows: 0 });
        let end = seconds.map(|seconds| start + std::time::Duration::from_secs(seconds));
        Ok(Events { position, end, rows })
    }
}

/// The events from a position on.
pub struct Events {
    position: Position,
    end: Option<Timestamp>,
    rows: Option<u64>,
}

/// Where to resume: the simulation as it stands, and how many events it gave.
#[derive(Debug, Clone, PartialEq, Saved)]
pub struct Position {
    simulation: Simulation,
    rows: u64,
}

impl SourcePart for Events {
    type Row = String;
    type Position = Position;

    fn next_batch(&mut self, max_rows: usize) -> Result<Polled<String>> {
        let mut events = Vec::with_capacity(max_rows.min(1024));
        while events.len() < max_rows && !self.is_over() {
            events.push(self.position.simulation.next_event());
            self.position.rows += 1;
        }
        Ok(if events.is_empty() && self.is_over() { Polled::End } else { Polled::Data(events) })
    }

    fn snapshot(&self) -> Result<Position> {
        Ok(self.position.clone())
    }
}

impl Events {
    fn is_over(&self) -> bool {
        self.rows.is_some_and(|rows| self.position.rows >= rows)
            || self.end.is_some_and(|end| self.position.simulation.next_at() >= end)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use wxhost_guest::testing::{SourceTest, source};

    use super::*;

    fn events(config: Value) -> Vec<Value> {
        let texts = source::<WebEvents>(config).read_to_end();
        texts.iter().map(|text| serde_json::from_str(text.as_str().unwrap()).unwrap()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_events() {
        let first = events(json!({"rows": 100, "seed": 7}));
        assert_eq!(first.len(), 100);
        assert_eq!(first, events(json!({"rows": 100, "seed": 7})));
        assert_ne!(first, events(json!({"rows": 100, "seed": 8})));
    }

    #[test]
    fn events_are_in_the_order_of_their_times_and_end_with_the_simulated_time() {
        let events = events(json!({"seconds": 3600, "start": "2022-01-02T03:00:00Z"}));
        let times: Vec<&str> = events.iter().map(|event| event["event_timestamp"].as_str().unwrap()).collect();
        assert!(times.len() > 20, "{} events", times.len());
        assert!(times.is_sorted());
        assert!(times.iter().all(|time| time.starts_with("2022-01-02 03:") && time.len() == 26), "{times:?}");
    }

    #[test]
    fn ten_seconds_have_an_event_of_every_user_at_least() {
        let events = events(json!({"users": 5, "seconds": 10}));
        let users: std::collections::BTreeSet<&str> =
            events.iter().map(|event| event["user_domain_id"].as_str().unwrap()).collect();
        assert_eq!(users.len(), 5);
    }

    #[test]
    fn an_event_has_the_fields_that_the_flow_uses() {
        let event = &events(json!({"rows": 1}))[0];
        for field in ["event_id", "page_url", "page_url_path", "referer_url", "user_domain_id", "browser_name", "os"] {
            assert!(event[field].is_string(), "{field} in {event}");
        }
        assert!(event["user_custom_id"].as_str().unwrap().contains('@'));
    }

    #[test]
    fn reading_goes_on_where_it_was_stopped() {
        let whole = source::<WebEvents>(json!({"rows": 500})).read_to_end();
        let mut part = source::<WebEvents>(json!({"rows": 500}));
        let mut pieces = part.read(130, 13);
        part.resume();
        pieces.extend(part.read(7, 7));
        part.resume();
        pieces.extend(part.read_to_end());
        assert_eq!(pieces, whole);
    }

    #[test]
    fn rows_are_one_text_column() {
        assert_eq!(source::<WebEvents>("").columns(), "value: string");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (config, message) in [
            (json!({"users": 0}), "config: users must be at least 1"),
            (json!({"sessions_per_day": -1.0}), "config: sessions_per_day must be above 0"),
            (
                json!({"second": 1}),
                "config: unknown field `second`, expected one of `users`, `sessions_per_day`, `seconds`, `rows`, \
                 `seed`, `start` at line 1 column 9",
            ),
        ] {
            assert_eq!(SourceTest::open::<WebEvents>(config).err().unwrap().message(), message);
        }
    }
}
