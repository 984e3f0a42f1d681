//! Folds, stateful functions, sources and sinks, over snapshots and resumes.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::json;
use wxhost_guest::prelude::*;
use wxhost_guest::testing;

/// The mean of all values.
#[derive(Default, State)]
struct Average {
    sum: f64,
    rows: u64,
}

impl Fold for Average {
    type In<'a> = f64;
    type Out = f64;

    fn fold(&mut self, value: f64) {
        self.sum += value;
        self.rows += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.rows += other.rows;
    }

    fn finish(&self) -> f64 {
        self.sum / self.rows as f64
    }
}

#[derive(Config)]
struct Top {
    keep: usize,
}

#[derive(Row)]
struct Score<'a> {
    player: &'a str,
    score: i64,
}

#[derive(Row)]
struct Best {
    players: Vec<String>,
}

/// The first players by score. Version 1 kept names only.
#[derive(State)]
#[state(version = 2, config = Top, migrate = from_version_1)]
struct TopPlayers {
    keep: usize,
    players: Vec<(i64, String)>,
    mode: Mode,
}

#[derive(Saved, Debug, PartialEq)]
enum Mode {
    Plain,
    Weighted { by: f32 },
}

impl From<&Top> for TopPlayers {
    fn from(config: &Top) -> Self {
        Self { keep: config.keep, players: Vec::new(), mode: Mode::Plain }
    }
}

fn from_version_1(from_version: u32, bytes: &[u8]) -> Result<TopPlayers> {
    assert_eq!(from_version, 1);
    let names: Vec<String> = wxhost_guest::state::decode(bytes)?;
    let players = names.into_iter().map(|name| (0, name)).collect();
    Ok(TopPlayers { keep: 2, players, mode: Mode::Weighted { by: 1.0 } })
}

impl TryFold for TopPlayers {
    type In<'a> = Score<'a>;
    type Out = Best;

    fn try_fold(&mut self, row: Score<'_>) -> Result<()> {
        if row.score < 0 {
            return Err(Error::user(format!("{} has a score of {}", row.player, row.score)));
        }
        self.players.push((row.score, row.player.to_owned()));
        self.players.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        self.players.truncate(self.keep);
        Ok(())
    }

    fn try_merge(&mut self, other: Self) -> Result<()> {
        self.players.extend(other.players);
        Ok(())
    }

    fn try_finish(&self) -> Result<Best> {
        match self.players.as_slice() {
            [] => Err(Error::user("nobody played")),
            players => Ok(Best { players: players.iter().map(|(_, name)| name.clone()).collect() }),
        }
    }
}

#[derive(Row, Saved, Clone)]
struct Line {
    text: String,
    at: i64,
}

/// The longest line.
#[reduce]
fn longest(first: Line, second: Line) -> Line {
    if second.text.len() > first.text.len() { second } else { first }
}

#[reduce(version = 3)]
fn total(first: i64, second: i64) -> Result<i64> {
    first.checked_add(second).ok_or_else(|| Error::user("too large"))
}

/// Emits running counts, and forgets a key at a row `end`, after ten idle seconds, or at the end of input.
#[derive(Default, State)]
struct Counter {
    rows: u32,
    last: Option<Timestamp>,
}

impl Stateful for Counter {
    type In<'a> = &'a str;
    type Out = String;

    fn on_item(&mut self, row: &str, cx: &mut Emit<String>) -> Result<()> {
        if row.is_empty() {
            cx.emit("never seen".into());
            return Err(Error::user("empty"));
        }
        self.rows += 1;
        self.last = Some(cx.now());
        cx.emit(format!("{row} {}", self.rows));
        if row == "end" {
            cx.discard();
        }
        Ok(())
    }

    fn on_notify(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("idle after {}", self.rows));
        cx.discard();
        Ok(())
    }

    fn on_eof(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("eof after {}", self.rows));
        Ok(())
    }

    fn notify_at(&self) -> Option<Timestamp> {
        self.last.map(|last| last + Duration::from_secs(10))
    }
}

/// Counts down from a number, a number a second.
struct Countdown {
    from: u32,
}

#[derive(Config)]
struct Start {
    from: u32,
}

struct Counting {
    left: u32,
    next: Timestamp,
}

#[derive(Row)]
struct Tick {
    left: u32,
    at: Timestamp,
}

impl Source for Countdown {
    const DOC: &'static str = "Counts down.";
    type Config = Start;
    type Part = Counting;

    fn new(config: Start) -> Result<Self> {
        if config.from == 0 { Err(Error::user("nothing to count")) } else { Ok(Self { from: config.from }) }
    }

    fn build_part(&self, name: &str, resume: Option<u32>) -> Result<Counting> {
        assert_eq!(name, "singleton");
        Ok(Counting { left: resume.unwrap_or(self.from), next: now() })
    }
}

impl SourcePart for Counting {
    type Row = Tick;
    type Position = u32;

    fn next_batch(&mut self, _: usize) -> Result<Polled<Tick>> {
        if self.left == 0 {
            return Ok(Polled::End);
        }
        if now() < self.next {
            return Ok(Polled::Idle(self.next));
        }
        self.left -= 1;
        self.next = self.next + Duration::from_secs(1);
        count("ticks", 1);
        Ok(Polled::Data(vec![Tick { left: self.left, at: now() }]))
    }

    fn snapshot(&self) -> Result<u32> {
        Ok(self.left)
    }
}

thread_local! {
    static WRITTEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Collects lines; each epoch becomes visible as a whole.
struct Collect;

struct Collecting {
    staged: Vec<String>,
    rows: u64,
}

impl Sink for Collect {
    const TWO_PHASE: bool = true;
    type Config = wxhost_guest::config::NoConfig;
    type Part = Collecting;

    fn new(_: Self::Config) -> Result<Self> {
        Ok(Self)
    }

    fn build_part(&self, _: &str, resume: Option<u64>) -> Result<Collecting> {
        Ok(Collecting { staged: Vec::new(), rows: resume.unwrap_or(0) })
    }
}

impl SinkPart for Collecting {
    type In<'a> = &'a str;
    type Position = u64;

    fn write(&mut self, row: &str) -> Result<()> {
        if row == "bad" {
            return Err(Error::user("refused"));
        }
        self.rows += 1;
        self.staged.push(format!("{} {row}", self.rows));
        Ok(())
    }

    fn snapshot(&mut self) -> Result<u64> {
        Ok(self.rows)
    }

    fn pre_commit(&mut self, _: u64) -> Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.staged).join("\n").into_bytes())
    }

    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<()> {
        let text = String::from_utf8(staged.to_vec())?;
        WRITTEN.with_borrow_mut(|written| written.push(format!("{epoch}: {text}")));
        Ok(())
    }
}

plugin!(Average, TopPlayers as top_players, longest, total, Counter as counter, Countdown as countdown, Collect);

#[test]
fn a_fold_goes_on_after_a_resume_and_a_merge() {
    let mut average = testing::fold::<Average>();
    average.update("a", [1.0, 2.0]);
    average.update("b", [9.0]);
    average.resume();
    assert_eq!(average.finish("a"), 1.5);
    average.merge("a", "b");
    assert_eq!(average.finish("a"), 4.0);
    assert_eq!(average.try_finish("b").unwrap_err().message(), "no key \"b\"");
}

#[test]
fn a_fold_reads_narrower_numbers() {
    let mut average = testing::fold::<Average>();
    average.update("a", testing::json_as(r#"{"n": 1} {"n": 2}"#, &[("n", "int32")]));
    assert_eq!(average.finish("a"), 1.5);
    let error = testing::fold::<Average>().try_update("a", [1_i64]).unwrap_err();
    assert_eq!(error.message(), "column \"value\" is int64, wanted float64; columns: value: int64");
}

#[test]
fn a_row_that_cannot_be_folded_leaves_the_state() {
    let mut top = testing::fold::<TopPlayers>().config(json!({"keep": 2}));
    let score = |player, score| Score { player, score };
    let errors = top.update("a", [score("ada", 1), score("bob", -1), score("cy", 3), score("di", 2)]);
    assert_eq!(errors, [(1, "bob has a score of -1".to_owned())]);
    assert_eq!(top.finish("a"), json!({"players": ["cy", "di"]}));
    top.update("b", [score("bob", -1)]);
    assert_eq!(top.try_finish("b").unwrap_err().message(), "nobody played");
}

#[test]
fn a_fold_without_the_configuration_that_it_needs_is_refused() {
    let error = testing::fold::<TopPlayers>().try_update("a", [Score { player: "a", score: 1 }]).unwrap_err();
    assert_eq!(error.message(), "config: missing field `keep` at line 1 column 2");
}

#[test]
fn states_of_an_older_version_are_migrated() {
    let old = wxhost_guest::state::encode(&vec!["ada".to_owned()], Vec::new()).unwrap();
    let new = testing::FoldTest::<TopPlayers>::migrate(1, &old).unwrap();
    let state = <TopPlayers as wxhost_guest::State>::decode(&new).unwrap();
    assert_eq!((state.players, state.mode), (vec![(0, "ada".to_owned())], Mode::Weighted { by: 1.0 }));
    let error = testing::FoldTest::<Average>::migrate(7, &[]).unwrap_err();
    assert_eq!(
        error.message(),
        "a state of version 7 cannot become one of version 1: the function has no `migrate = ...` that reads it"
    );
}

#[test]
fn a_reduction_keeps_a_row() {
    let mut test = testing::reduce::<longest>();
    test.update("a", testing::json(r#"{"text": "x", "at": 1} {"text": "xyz", "at": 2} {"text": "abc", "at": 3}"#));
    test.resume();
    assert_eq!(test.finish("a"), json!({"text": "xyz", "at": 2}));
}

#[test]
fn a_reduction_that_fails_keeps_the_row_before() {
    let mut test = testing::reduce::<total>();
    assert_eq!(test.update("a", [1_i64, i64::MAX, 2]), [(1, "too large".to_owned())]);
    assert_eq!(test.finish("a"), 3);
}

fn keyed(rows: &[(&str, &str)]) -> testing::KeyedRows {
    rows.iter().map(|(key, row)| ((*key).to_owned(), (*row).into())).collect()
}

#[test]
fn a_discarded_key_begins_anew_in_the_same_batch() {
    let mut counter = testing::stateful::<Counter>();
    let emitted = counter.keyed_rows(&["a", "a", "b", "a", "b"], ["x", "end", "x", "y", "end"]);
    assert_eq!(emitted, keyed(&[("a", "x 1"), ("a", "end 2"), ("b", "x 1"), ("a", "y 1"), ("b", "end 2")]));
    assert_eq!(counter.keys(), ["a"]);
}

#[test]
fn a_failing_row_emits_nothing_and_makes_no_state() {
    let mut counter = testing::stateful::<Counter>();
    assert_eq!(counter.keyed_rows(&["a", "b", "a"], ["x", "", ""]), keyed(&[("a", "x 1")]));
    assert_eq!(counter.take_errors(), [(1, "empty".to_owned()), (2, "empty".to_owned())]);
    assert_eq!(counter.keys(), ["a"]);
}

#[test]
fn keys_wake_at_their_times_also_after_a_resume() {
    let at = Timestamp::from_seconds;
    let mut counter = testing::stateful::<Counter>();
    counter.rows("a", ["x"]);
    assert_eq!(counter.advance_to(at(5)), []);
    counter.rows("b", ["x", "y"]);
    counter.resume();
    assert_eq!(counter.advance_to(at(14)), keyed(&[("a", "idle after 1")]));
    assert_eq!(counter.eof(), keyed(&[("b", "eof after 2")]));
    assert_eq!(counter.advance_to(at(60)), keyed(&[("b", "idle after 2")]));
    assert!(counter.keys().is_empty());
}

#[test]
fn a_source_is_polled_to_its_end_and_goes_on_after_a_resume() {
    testing::set_now(Timestamp::from_seconds(100));
    let mut source = testing::source::<Countdown>(json!({"from": 3}));
    assert_eq!(source.columns(), "left: uint32, at: timestamp");
    assert_eq!(source.read(1, 10), [json!({"left": 2, "at": "1970-01-01T00:01:40Z"})]);
    source.resume();
    let rest = source.read_to_end();
    assert_eq!(rest.iter().map(|row| &row["left"]).collect::<Vec<_>>(), [&json!(1), &json!(0)]);
    assert_eq!(testing::take_counts()["ticks"], 3);
    let refused = testing::SourceTest::open::<Countdown>(json!({"from": 0})).err();
    assert_eq!(refused, Some(Error::user("nothing to count")));
}

#[test]
fn a_sink_commits_what_it_staged() {
    let mut sink = testing::sink::<Collect>("");
    assert_eq!(sink.write(["a", "bad", "b"]), Ok(vec![(1, "refused".to_owned())]));
    let staged = sink.pre_commit(1).unwrap();
    sink.commit(1, &staged).unwrap();
    sink.resume().unwrap();
    sink.write(["c"]).unwrap();
    let staged = sink.pre_commit(2).unwrap();
    sink.commit(2, &staged).unwrap();
    sink.close().unwrap();
    assert_eq!(WRITTEN.take(), ["1: 1 a\n2 b", "2: 3 c"]);
}

#[test]
fn the_table_knows_each_kind() {
    let functions = testing::functions::<WxhostPlugin>();
    let described: Vec<_> =
        functions.iter().map(|f| format!("{} {} {} {}", f.kind, f.name, f.state_version, f.doc)).collect();
    assert_eq!(
        described,
        [
            "fold Average 1 The mean of all values.",
            "fold top_players 2 The first players by score. Version 1 kept names only.",
            "fold longest 1 The longest line.",
            "fold total 3 ",
            "stateful counter 1 Emits running counts, and forgets a key at a row `end`, after ten idle seconds, or at \
             the end of input.",
            "source countdown 1 Counts down.",
            "sink Collect 1 ",
        ]
    );
}
