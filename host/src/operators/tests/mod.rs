//! Flows of one or a few steps, in memory, with one worker and with three.

mod aggregates;
mod keyed;
mod registry;
mod replay;
mod stateless;
mod windows;

use super::testing::{Bench, table};
use crate::catalog::function::FunctionKind;
use crate::dataflow::user_fn::{Applied, RowError};
use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use std::sync::Arc;

/// Four batches of `n: int64, word: string`, and functions over them.
fn bench() -> Bench {
    let batches = [
        table("n: int64, word: string", &["1,to", "2,be"]),
        table("n: int64, word: string", &["3,or", "4,not"]),
        table("n: int64, word: string", &["5,to", "6,be"]),
        table("n: int64, word: string", &["7,that"]),
    ];
    with_functions(Bench::default()).source("in", batches)
}

/// Functions over rows with the columns `n` and `word`.
fn with_functions(bench: Bench) -> Bench {
    bench
        .function("twice", FunctionKind::Map, "n: int64", |rows| {
            let n = numbers(rows).iter().map(|n| n.map(|n| 2 * n)).collect::<Int64Array>();
            applied(Some(batch("n: int64", Arc::new(n))), None, Vec::new())
        })
        .function("add_length", FunctionKind::Map, "n: int64, length: int64", |rows| {
            // Rows whose number is 3 fail.
            let (mut n, mut lengths, mut errors) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..rows.num_rows() {
                match numbers(rows).value(row) {
                    3 => errors.push(error(row, "three")),
                    number => {
                        n.push(-number);
                        lengths.push(words(rows).value(row).len() as i64);
                    }
                }
            }
            let schema = table("n: int64, length: int64", &[]).schema();
            let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(n)), Arc::new(Int64Array::from(lengths))];
            applied(Some(RecordBatch::try_new(schema, columns).unwrap()), None, errors)
        })
        .function("is_even", FunctionKind::Filter, "", |rows| {
            let kept = (0..).zip(numbers(rows).values()).filter(|(_, n)| **n % 2 == 0).map(|(row, _)| row);
            applied(None, Some(kept.collect()), Vec::new())
        })
        .function("length", FunctionKind::Map, "length: int64", |rows| {
            // It is asked by the word alone, and does not know "or".
            assert_eq!(rows.num_columns(), 1);
            let (mut lengths, mut errors) = (Vec::new(), Vec::new());
            for (row, word) in words(rows).iter().enumerate() {
                match word.unwrap() {
                    "or" => errors.push(error(row, "or")),
                    word => lengths.push(word.len() as i64),
                }
            }
            applied(Some(batch("length: int64", Arc::new(Int64Array::from(lengths)))), None, errors)
        })
        .function("never", FunctionKind::Filter, "", |_| applied(None, Some(Vec::new()), Vec::new()))
        .function("letters", FunctionKind::FlatMap, "value: string", |rows| {
            let (mut letters, mut parents) = (Vec::new(), Vec::new());
            for (row, word) in (0..).zip(words(rows)) {
                for letter in word.unwrap().chars() {
                    letters.push(letter.to_string());
                    parents.push(row);
                }
            }
            applied(Some(batch("value: string", Arc::new(StringArray::from(letters)))), Some(parents), Vec::new())
        })
        .function("odd_words", FunctionKind::FilterMap, "value: string", |rows| {
            let kept: Vec<u32> =
                (0..).zip(numbers(rows).values()).filter(|(_, n)| **n % 2 == 1).map(|(r, _)| r).collect();
            let words: StringArray = kept.iter().map(|&row| Some(words(rows).value(row as usize))).collect();
            applied(Some(batch("value: string", Arc::new(words))), Some(kept), Vec::new())
        })
        .function("initial", FunctionKind::KeyOn, "key: string", |rows| {
            // Words with "n" have no key, and "or" fails.
            let (mut keys, mut errors) = (Vec::new(), Vec::new());
            for (row, word) in words(rows).iter().enumerate() {
                match word.unwrap() {
                    "or" => errors.push(error(row, "or")),
                    word if word.contains('n') => keys.push(None),
                    word => keys.push(Some(word[..1].to_owned())),
                }
            }
            applied(Some(batch("key: string", Arc::new(StringArray::from(keys)))), None, errors)
        })
}

fn applied(rows: Option<RecordBatch>, parents: Option<Vec<u32>>, errors: Vec<RowError>) -> Applied {
    Applied { rows, parents, errors }
}

fn error(row: usize, message: &str) -> RowError {
    RowError { row: row as u32, message: message.to_owned() }
}

fn batch(columns: &str, column: ArrayRef) -> RecordBatch {
    RecordBatch::try_new(table(columns, &[]).schema(), vec![column]).unwrap()
}

fn numbers(rows: &RecordBatch) -> &Int64Array {
    rows.column_by_name("n").unwrap().as_primitive::<Int64Type>()
}

fn words(rows: &RecordBatch) -> &StringArray {
    rows.column_by_name("word").unwrap().as_string()
}

/// Steps in a row, from their keys: `["op = \"map\", fn = \"p.twice\""]`.
fn steps(steps: &[&str]) -> String {
    let steps = steps.iter().enumerate().map(|(at, keys)| {
        let named = if keys.starts_with("name = ") { String::new() } else { format!("name = \"s{at}\"\n") };
        format!("[[step]]\n{named}{}\n", keys.replace("; ", "\n"))
    });
    steps.collect()
}
