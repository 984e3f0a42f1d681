//! A function of every kind, and some that fail, for the end-to-end tests.

use std::io::Write as _;

use wxhost_guest::prelude::*;

/// Makes a text upper case.
#[map]
fn upper(value: &str) -> String {
    value.to_uppercase()
}

#[derive(Row)]
struct Length {
    length: u32,
}

/// Adds how many characters the column `value` has.
#[map(extend)]
fn measure(value: &str) -> Length {
    Length { length: value.chars().count() as u32 }
}

#[derive(Config)]
struct Least {
    /// Shorter texts are dropped.
    least: usize,
}

/// Keeps texts that are long enough.
#[filter]
fn is_long(value: &str, config: &Least) -> bool {
    value.chars().count() >= config.least
}

/// Keeps even numbers; a text is an error.
#[filter]
fn is_even(value: &str) -> Result<bool> {
    Ok(number_in(value)? % 2 == 0)
}

/// Gives every character.
#[flat_map]
fn characters(value: &str) -> impl Iterator<Item = String> {
    value.chars().map(|c| c.to_string())
}

/// Reads a number; texts are left out.
#[filter_map]
fn number(value: &str) -> Option<i64> {
    value.parse().ok()
}

/// Reads a number; texts are errors.
#[map]
fn parse(value: &str) -> Result<i64> {
    number_in(value)
}

fn number_in(value: &str) -> Result<i64> {
    value.parse().map_err(|_| Error::user(format!("{value:?} is no number")))
}

/// The first character; a text without one is an error.
#[key_on]
fn first(value: &str) -> Result<String> {
    value.chars().next().map(String::from).ok_or_else(|| Error::user("no first character"))
}

/// The longer of two texts; of equal ones the first.
#[reduce]
fn longer(first: String, second: String) -> String {
    if second.len() > first.len() { second } else { first }
}

/// The sum of the numbers in texts, and how many there were; anything else is an error.
#[derive(Default, State)]
struct Sum {
    sum: i64,
    rows: u32,
}

#[derive(Row)]
struct Summed {
    sum: i64,
    rows: u32,
}

impl TryFold for Sum {
    type In<'a> = &'a str;
    type Out = Summed;

    fn try_fold(&mut self, value: &str) -> Result<()> {
        self.sum += number_in(value)?;
        self.rows += 1;
        Ok(())
    }

    fn try_merge(&mut self, other: Self) -> Result<()> {
        self.sum += other.sum;
        self.rows += other.rows;
        Ok(())
    }

    fn try_finish(&self) -> Result<Summed> {
        Ok(Summed { sum: self.sum, rows: self.rows })
    }
}

/// Texts in the order in which they came; those of a session that was merged stand in brackets. "!" is an error.
#[derive(Default, State)]
struct Joined {
    texts: String,
}

impl TryFold for Joined {
    type In<'a> = &'a str;
    type Out = String;

    fn try_fold(&mut self, value: &str) -> Result<()> {
        if value == "!" {
            return Err(Error::user("the text cannot be joined"));
        }
        self.texts.push_str(value);
        Ok(())
    }

    fn try_merge(&mut self, other: Self) -> Result<()> {
        self.texts.push_str(&format!("({})", other.texts));
        Ok(())
    }

    fn try_finish(&self) -> Result<String> {
        Ok(self.texts.clone())
    }
}

/// Notes texts: tells what there is at "?", at a merge and at the end. "!" is an error.
#[derive(Default, State)]
struct Diary {
    texts: String,
}

impl Stateful for Diary {
    type In<'a> = &'a str;
    type Out = String;

    fn on_item(&mut self, value: &str, cx: &mut Emit<String>) -> Result<()> {
        match value {
            "!" => return Err(Error::user("the text cannot be noted")),
            "?" => cx.emit(format!("so far {}", self.texts)),
            text => self.texts.push_str(text),
        }
        Ok(())
    }

    fn on_merge(&mut self, other: Self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("{} takes in {}", self.texts, other.texts));
        self.texts.push_str(&other.texts);
        Ok(())
    }

    fn on_eof(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("in the end {}", self.texts));
        Ok(())
    }
}

/// When a text was written, from the number behind its "@".
#[map]
fn written_at(value: &str) -> Result<Timestamp> {
    let seconds = value.split_once('@').map_or("", |(_, seconds)| seconds);
    Ok(Timestamp::from_micros(number_in(seconds)? * 1_000_000))
}

#[derive(Row)]
struct Mean {
    mean: f64,
    rows: u32,
}

/// The mean of the numbers so far; `end` tells it once more and begins anew. Other texts are errors.
#[stateful_map]
fn running_mean(state: &mut Option<(i64, u32)>, value: &str) -> Result<Mean> {
    let (mut sum, mut rows) = state.unwrap_or_default();
    if value != "end" {
        sum += number_in(value)?;
        rows += 1;
        *state = Some((sum, rows));
    } else {
        *state = None;
    }
    Ok(Mean { mean: sum as f64 / f64::from(rows.max(1)), rows })
}

/// Texts that are not the one before.
#[stateful_flat_map]
fn changes(state: &mut Option<String>, value: &str) -> Option<String> {
    if state.as_deref() == Some(value) {
        return None;
    }
    *state = Some(value.to_owned());
    Some(value.to_owned())
}

#[derive(Config)]
struct Patience {
    /// Visits after which a visitor is told of.
    visits: u32,
}

/// Tells where a visitor was: at `bye`, which forgets the visitor, and at the end of the input if there were enough visits.
/// One that was `unseen` cannot be told of.
#[derive(State)]
#[state(config = Patience)]
struct Visits {
    wanted: u32,
    visits: Vec<String>,
}

impl From<&Patience> for Visits {
    fn from(config: &Patience) -> Self {
        Visits { wanted: config.visits, visits: Vec::new() }
    }
}

impl Stateful for Visits {
    type In<'a> = &'a str;
    type Out = String;

    fn on_item(&mut self, value: &str, cx: &mut Emit<String>) -> Result<()> {
        match value {
            "" => return Err(Error::user("no visit")),
            "bye" => {
                cx.emit(format!("gone after {}", self.visits.join(" ")));
                cx.discard();
            }
            value => self.visits.push(value.to_owned()),
        }
        Ok(())
    }

    fn on_eof(&mut self, cx: &mut Emit<String>) -> Result<()> {
        if self.visits.iter().any(|visit| visit == "unseen") {
            return Err(Error::user("was not seen"));
        }
        if self.visits.len() >= self.wanted as usize {
            cx.emit(format!("here for {}", self.visits.join(" ")));
        }
        Ok(())
    }
}

/// Tells the last text of whoever says nothing for ten seconds, and forgets it.
#[derive(Default, State)]
struct Quiet {
    last: String,
    at: Timestamp,
}

impl Stateful for Quiet {
    type In<'a> = &'a str;
    type Out = String;

    fn on_item(&mut self, value: &str, cx: &mut Emit<String>) -> Result<()> {
        value.clone_into(&mut self.last);
        self.at = cx.now();
        Ok(())
    }

    fn on_notify(&mut self, cx: &mut Emit<String>) -> Result<()> {
        cx.emit(format!("quiet since {}", self.last));
        cx.discard();
        Ok(())
    }

    fn notify_at(&self) -> Option<Timestamp> {
        Some(self.at + std::time::Duration::from_secs(10))
    }
}

/// How many numbers there were and their sum, told at the end of the input; takes them a batch at a time.
#[derive(Default, State)]
struct Totals {
    sum: i64,
    rows: u32,
}

impl Stateful for Totals {
    type In<'a> = &'a str;
    type Out = Summed;
    const BY_BATCH: bool = true;

    fn on_batch(&mut self, values: Vec<&str>, _: &mut Emit<Summed>) -> Result<()> {
        let numbers: Vec<i64> = values.into_iter().map(number_in).collect::<Result<_>>()?;
        self.sum += numbers.iter().sum::<i64>();
        self.rows += numbers.len() as u32;
        Ok(())
    }

    fn on_eof(&mut self, cx: &mut Emit<Summed>) -> Result<()> {
        cx.emit(Summed { sum: self.sum, rows: self.rows });
        Ok(())
    }
}

/// Fails on texts in many ways.
#[map]
fn moody(value: &str) -> Result<String> {
    match value {
        "panic" => panic!("the text said so"),
        "loop" => loop {
            std::hint::black_box(());
        },
        "hoard" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "external" => Err(Error::external("nobody answers")),
        "internal" => Err(Error::internal("a bug")),
        "user" => Err(Error::user("a bad row")),
        "say" => {
            println!("said on stdout");
            eprintln!("said on stderr");
            count("said", 1);
            Ok("said".to_owned())
        }
        calm => Ok(calm.to_owned()),
    }
}

#[derive(Config)]
struct Countdown {
    /// Where each part begins.
    from: u32,
    /// How many parts there are.
    parts: u32,
}

#[derive(Row)]
struct Second {
    part: String,
    left: u32,
}

struct Count {
    config: Countdown,
}

impl Source for Count {
    const DOC: &'static str = "Counts down to 1 in several parts.";
    type Config = Countdown;
    type Part = CountPart;

    fn new(config: Countdown) -> Result<Self> {
        if config.parts == 0 {
            return Err(Error::user("config: parts must be at least 1"));
        }
        Ok(Count { config })
    }

    fn list_parts(&self) -> Result<Vec<String>> {
        Ok((0..self.config.parts).map(|part| format!("part {part}")).collect())
    }

    fn build_part(&self, name: &str, resume: Option<u32>) -> Result<CountPart> {
        Ok(CountPart { name: name.to_owned(), left: resume.unwrap_or(self.config.from) })
    }
}

struct CountPart {
    name: String,
    left: u32,
}

impl SourcePart for CountPart {
    type Row = Second;
    type Position = u32;

    fn next_batch(&mut self, max_rows: usize) -> Result<Polled<Second>> {
        if self.left == 0 {
            return Ok(Polled::End);
        }
        let mut rows = Vec::new();
        while self.left > 0 && rows.len() < max_rows {
            rows.push(Second { part: self.name.clone(), left: self.left });
            self.left -= 1;
        }
        Ok(Polled::Data(rows))
    }

    fn snapshot(&self) -> Result<u32> {
        Ok(self.left)
    }
}

#[derive(Config)]
struct Notebook {
    /// The folder to write in, which the flow allows.
    folder: String,
}

struct Notes {
    folder: String,
}

impl Sink for Notes {
    const DOC: &'static str = "Writes texts to a file; refuses \"bad\".";
    type Config = Notebook;
    type Part = NotesPart;

    fn new(config: Notebook) -> Result<Self> {
        Ok(Notes { folder: config.folder })
    }

    fn list_parts(&self) -> Result<Vec<String>> {
        Ok(vec!["notes.txt".to_owned()])
    }

    fn build_part(&self, name: &str, _: Option<()>) -> Result<NotesPart> {
        Ok(NotesPart { file: std::fs::File::create(format!("{}/{name}", self.folder))? })
    }
}

struct NotesPart {
    file: std::fs::File,
}

impl SinkPart for NotesPart {
    type In<'a> = &'a str;
    type Position = ();

    fn write(&mut self, value: &str) -> Result<()> {
        if value == "bad" {
            return Err(Error::user("the sink does not take this"));
        }
        writeln!(self.file, "{value}")?;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<()> {
        Ok(())
    }
}

plugin!(
    upper,
    measure,
    is_long,
    is_even,
    characters,
    number,
    parse,
    first,
    longer,
    Sum as sum,
    running_mean,
    changes,
    Visits as visits,
    Totals as totals,
    Quiet as quiet,
    Joined as joined,
    Diary as diary,
    written_at,
    moody,
    Count as countdown,
    Notes as notes,
);
