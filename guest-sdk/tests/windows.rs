//! Folds in windows of event time.

use std::time::Duration;

use wxhost_guest::prelude::*;
use wxhost_guest::testing::{self, Closed, Windower};

/// The texts of a window; one that says `bad` fails, and a window of `odd` cannot be finished.
#[derive(Default, State)]
struct Texts {
    texts: String,
}

impl TryFold for Texts {
    type In<'a> = &'a str;
    type Out = String;

    fn try_fold(&mut self, text: &str) -> Result<()> {
        if text == "bad" {
            return Err(Error::user("is bad"));
        }
        self.texts.push_str(text);
        Ok(())
    }

    fn try_merge(&mut self, other: Self) -> Result<()> {
        self.texts = format!("({}+{})", self.texts, other.texts);
        Ok(())
    }

    fn try_finish(&self) -> Result<String> {
        if self.texts == "odd" { Err(Error::user("is odd")) } else { Ok(self.texts.clone()) }
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: &[i64]) -> Vec<Timestamp> {
    seconds.iter().map(|second| Timestamp::from_seconds(*second)).collect()
}

/// `key [open, close) row`.
fn show(closed: &[Closed]) -> Vec<String> {
    let seconds = |at: Timestamp| at.micros() / 1_000_000;
    let show = |it: &Closed| {
        format!("{} {}-{} {}", it.key, seconds(it.open), seconds(it.close), it.row.as_str().expect("a text"))
    };
    closed.iter().map(show).collect()
}

#[test]
fn tumbling_windows_take_their_rows_in_the_order_of_time() {
    let mut windows = testing::windows::<Texts>(Windower::Tumbling(5 * SECOND));
    windows.rows("b", &at(&[4, 1, 5, -1]), ["y", "x", "z", "w"]);
    windows.rows("a", &at(&[0]), ["a"]);
    assert_eq!(show(&windows.advance_to(at(&[4])[0])), ["b -5-0 w"]);
    windows.resume();
    windows.rows("b", &at(&[3, 4]), ["late", "!"]);
    assert_eq!(windows.late(), 1);
    assert_eq!(show(&windows.advance_to(at(&[5])[0])), ["a 0-5 a", "b 0-5 xy!"]);
    assert_eq!(show(&windows.eof()), ["b 5-10 z"]);
}

#[test]
fn a_row_is_in_all_sliding_windows_over_its_time() {
    let mut windows = testing::windows::<Texts>(Windower::Sliding(10 * SECOND, 5 * SECOND));
    windows.rows("a", &at(&[7, 12]), ["x", "y"]);
    windows.resume();
    assert_eq!(show(&windows.eof()), ["a 0-10 x", "a 5-15 xy", "a 10-20 y"]);
}

#[test]
fn sessions_grow_and_merge_into_the_earlier_one() {
    let mut windows = testing::windows::<Texts>(Windower::Session(5 * SECOND));
    windows.rows("a", &at(&[10, 20]), ["x", "y"]);
    windows.rows("b", &at(&[12]), ["b"]);
    windows.rows("a", &at(&[8]), ["w"]);
    windows.resume();
    windows.rows("a", &at(&[15]), ["z"]);
    assert_eq!(show(&windows.advance_to(at(&[17])[0])), [""; 0]);
    assert_eq!(show(&windows.advance_to(at(&[18])[0])), ["b 12-12 b"]);
    assert_eq!(show(&windows.advance_to(at(&[26])[0])), ["a 8-20 (xw+y)z"]);
}

#[test]
fn rows_and_windows_that_fail_are_told_of() {
    let mut windows = testing::windows::<Texts>(Windower::Tumbling(5 * SECOND));
    windows.rows("a", &at(&[0, 7, 1]), ["bad", "bad", "x"]);
    windows.rows("b", &at(&[1]), ["odd"]);
    windows.resume();
    assert_eq!(show(&windows.eof()), ["a 0-5 x"]);
    let errors: Vec<String> = windows.take_errors().into_iter().map(|(key, why)| format!("{key} {why}")).collect();
    assert_eq!(errors, ["a is bad", "a is bad", "b is odd"]);
}
