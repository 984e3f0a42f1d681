//! What was captured against what was expected.

use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::BTreeMap;

/// The most lines that are shown of rows of which only the number is wrong.
const MOST_LINES: usize = 20;

/// What must come out of a port; rows are lines of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    /// These rows in this order; with several workers, in any order.
    Rows(Vec<String>),
    /// These rows in any order.
    AnyOrder(Vec<String>),
    /// For each key these rows in this order, and no other key.
    PerKey(BTreeMap<String, Vec<String>>),
    /// These rows among others.
    Contains(Vec<String>),
    /// So many rows.
    Count(usize),
}

/// A row that was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub key: Option<String>,
    pub line: String,
}

/// A line of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffLine {
    pub mark: Mark,
    /// A row as JSON.
    pub text: String,
}

/// What a line of a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It was expected and did not come.
    Missing,
    /// It came and was not expected.
    Unexpected,
    /// It came and was expected.
    Same,
}

impl Expected {
    /// Compares; what is returned says in words what is wrong, and shows it.
    pub fn compare(&self, rows: &[Captured], workers: usize) -> Option<(String, Vec<DiffLine>)> {
        let came = || rows.iter().map(|row| row.line.clone()).collect::<Vec<String>>();
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        // The order in which several workers give rows means nothing, and must not differ from run to run.
        let shown = || if workers == 1 { came() } else { sorted(came()) };
        match self {
            Expected::Rows(wanted) if workers == 1 => differ(wanted, &came()),
            Expected::Rows(wanted) | Expected::AnyOrder(wanted) => differ(&sorted(wanted.clone()), &sorted(came())),
            Expected::PerKey(wanted) => {
                let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
                for row in rows {
                    by_key.entry(row.key.as_deref().unwrap_or_default()).or_default().push(row.line.clone());
                }
                let wanted: Vec<String> = wanted.values().flatten().cloned().collect();
                differ(&wanted, &by_key.into_values().flatten().collect::<Vec<_>>())
            }
            Expected::Contains(wanted) => contains(wanted, &shown()),
            Expected::Count(wanted) if *wanted == rows.len() => None,
            Expected::Count(wanted) => {
                let lines = shown().into_iter().take(MOST_LINES);
                let lines = lines.map(|text| DiffLine { mark: Mark::Same, text }).collect();
                Some((format!("{} wanted, {} came", count(*wanted), rows.len()), lines))
            }
        }
    }
}

fn count(rows: usize) -> String {
    format!("{rows} {}", if rows == 1 { "row" } else { "rows" })
}

fn differ(wanted: &[String], came: &[String]) -> Option<(String, Vec<DiffLine>)> {
    if wanted == came {
        return None;
    }
    let mut lines = Vec::new();
    let mut push = |mark, texts: &[String]| {
        lines.extend(texts.iter().map(|text| DiffLine { mark, text: text.clone() }));
    };
    for op in capture_diff_slices(Algorithm::Myers, wanted, came) {
        let (old, new) = (&wanted[op.old_range()], &came[op.new_range()]);
        match op {
            DiffOp::Equal { .. } => push(Mark::Same, new),
            DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {
                push(Mark::Missing, old);
                push(Mark::Unexpected, new);
            }
        }
    }
    let number = |mark| lines.iter().filter(|line| line.mark == mark).count();
    let (missing, unexpected) = (number(Mark::Missing), number(Mark::Unexpected));
    let words = match (missing, unexpected) {
        (missing, 0) => format!("{} did not come", count(missing)),
        (0, unexpected) => format!("{} came that should not", count(unexpected)),
        (missing, unexpected) => format!("{} did not come, {unexpected} came that should not", count(missing)),
    };
    Some((words, lines))
}

fn contains(wanted: &[String], came: &[String]) -> Option<(String, Vec<DiffLine>)> {
    let mut left: BTreeMap<&String, usize> = BTreeMap::new();
    came.iter().for_each(|line| *left.entry(line).or_default() += 1);
    let mut missing = Vec::new();
    for line in wanted {
        match left.get_mut(line).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => missing.push(line.clone()),
        }
    }
    if missing.is_empty() {
        return None;
    }
    let words = format!("{} did not come, {} did", count(missing.len()), came.len());
    let missing = missing.into_iter().map(|text| DiffLine { mark: Mark::Missing, text });
    let others = came.iter().take(MOST_LINES).map(|text| DiffLine { mark: Mark::Same, text: text.clone() });
    Some((words, missing.chain(others).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// What came, as `key line`, compared: words, then the lines with their marks.
    fn compare(expected: &Expected, came: &[&str], workers: usize) -> String {
        let captured = came.iter().map(|row| {
            let (key, line) = row.split_once(' ').unwrap();
            Captured { key: Some(key.to_owned()), line: line.to_owned() }
        });
        let Some((words, lines)) = expected.compare(&captured.collect::<Vec<_>>(), workers) else {
            return "same".to_owned();
        };
        let lines = lines.iter().map(|line| match line.mark {
            Mark::Missing => format!("-{}", line.text),
            Mark::Unexpected => format!("+{}", line.text),
            Mark::Same => line.text.clone(),
        });
        format!("{words}: {}", lines.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_differs_is_shown() {
        let per_key = BTreeMap::from([("x".to_owned(), rows(&["1", "3"])), ("y".to_owned(), rows(&["2"]))]);
        for (expected, came, workers, wanted) in [
            (Expected::Rows(rows(&["1", "2"])), &["x 1", "y 2"][..], 1, "same"),
            (
                Expected::Rows(rows(&["1", "2"])),
                &["y 2", "x 1"],
                1,
                "1 row did not come, 1 came that should not: +2 1 -2",
            ),
            (Expected::Rows(rows(&["1", "2"])), &["y 2", "x 1"], 3, "same"),
            (Expected::AnyOrder(rows(&["1", "2"])), &["y 2", "x 1"], 1, "same"),
            (Expected::AnyOrder(rows(&["1", "1"])), &["x 1"], 1, "1 row did not come: 1 -1"),
            (Expected::Rows(Vec::new()), &["x 1"], 1, "1 row came that should not: +1"),
            (Expected::PerKey(per_key.clone()), &["y 2", "x 1", "x 3"], 3, "same"),
            (
                Expected::PerKey(per_key.clone()),
                &["x 3", "x 1", "y 2"],
                3,
                "1 row did not come, 1 came that should not: +3 1 -3 2",
            ),
            (Expected::PerKey(per_key), &["x 1", "x 3", "y 2", "z 4"], 3, "1 row came that should not: 1 3 2 +4"),
            (Expected::Contains(rows(&["2"])), &["x 1", "y 2"], 1, "same"),
            (Expected::Contains(rows(&["2", "2"])), &["x 1", "y 2"], 1, "1 row did not come, 2 did: -2 1 2"),
            (Expected::Count(2), &["x 1", "y 2"], 1, "same"),
            (Expected::Count(1), &["x 1", "y 2"], 1, "1 row wanted, 2 came: 1 2"),
        ] {
            assert_eq!(compare(&expected, came, workers), wanted, "{expected:?} {came:?}");
        }
    }
}
