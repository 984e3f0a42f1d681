//! What all readers of a format have in common: bytes are cut into whole records, then records become rows.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::SchemaRef;

use crate::formats::error::FormatError;

/// The longest record. Who reads a file that is no text after all gets an error, not a full memory.
pub const MAX_RECORD: usize = 16 << 20;

/// How much of a bad record is kept for its report.
const MAX_RAW: usize = 1024;

/// Finds the ends of records in a growing buffer.
pub trait Framer: Send {
    /// Returns how many bytes at the start of `buffer` are whole records.
    ///
    /// `buffer` starts where the last answer ended. `at_end` means that nothing follows: a last record needs no line
    /// feed then. Fails when a record is longer than [`MAX_RECORD`].
    fn complete(&mut self, buffer: &[u8], at_end: bool) -> Result<usize, FormatError>;
}

/// Turns records into rows of one schema.
pub trait Decoder: Send {
    /// Returns the schema of all rows.
    fn schema(&self) -> SchemaRef;

    /// Decodes a chunk of whole records, as cut by the framer. A record that cannot be read becomes a [`BadRow`].
    fn decode(&mut self, chunk: &[u8]) -> Result<Decoded, FormatError>;
}

/// Turns rows into bytes.
pub trait Encoder: Send {
    /// Writes what stands at the start of a file, such as a header. Not called when writing goes on in a file.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Appends rows to `out`; `key` has a value for each row of a keyed stream.
    fn encode(&mut self, rows: &RecordBatch, key: Option<&StringArray>, out: &mut Vec<u8>) -> Result<(), FormatError>;
}

/// The rows of a chunk.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub rows: RecordBatch,
    /// For each row its line within the chunk, from 0; `None` when row `i` is on line `i`.
    pub lines: Option<Vec<u32>>,
    /// The records that could not be read, in their order.
    pub errors: Vec<BadRow>,
    /// The number of lines in the chunk, blank ones too.
    pub line_count: u32,
}

impl Decoded {
    /// Returns the line of a row within the chunk, from 0.
    pub fn line(&self, row: usize) -> u32 {
        self.lines.as_ref().map_or(row as u32, |lines| lines[row])
    }
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The line within the chunk on which the record starts, from 0.
    pub line: u32,
    pub message: String,
    /// The record, with what is not UTF-8 replaced, cut at 1 KiB.
    pub raw: String,
}

impl BadRow {
    pub(crate) fn new(line: u32, message: impl Into<String>, raw: &[u8]) -> BadRow {
        let is_cut = raw.len() > MAX_RAW;
        let mut text = String::from_utf8_lossy(&raw[..raw.len().min(MAX_RAW)]).into_owned();
        if is_cut {
            // The cut may have gone through a character.
            text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
            text.push('…');
        }
        BadRow { line, message: message.into(), raw: text }
    }
}

/// Cuts at line feeds.
#[derive(Debug, Default)]
pub struct LineFramer;

impl Framer for LineFramer {
    fn complete(&mut self, buffer: &[u8], at_end: bool) -> Result<usize, FormatError> {
        let end = memchr::memrchr(b'\n', buffer).map_or(0, |feed| feed + 1);
        if buffer.len() - end > MAX_RECORD {
            let hint = "is this a text file, and not compressed?";
            return Err(FormatError::TooLong { record: "line", limit: MAX_RECORD, hint });
        }
        Ok(if at_end { buffer.len() } else { end })
    }
}

/// Collects what becomes of the records of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    rows: u32,
    lines: Option<Vec<u32>>,
    errors: Vec<BadRow>,
}

impl Outcome {
    /// Notes that the record on a line became the next row.
    pub fn row(&mut self, line: u32) {
        match &mut self.lines {
            Some(lines) => lines.push(line),
            None if line == self.rows => {}
            None => {
                let mut lines: Vec<u32> = (0..self.rows).collect();
                lines.push(line);
                self.lines = Some(lines);
            }
        }
        self.rows += 1;
    }

    pub fn bad(&mut self, line: u32, message: impl Into<String>, raw: &[u8]) {
        self.errors.push(BadRow::new(line, message, raw));
    }

    pub fn rows(&self) -> usize {
        self.rows as usize
    }

    pub fn finish(self, schema: &SchemaRef, columns: Vec<ArrayRef>, line_count: u32) -> Decoded {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
        let rows = rows.expect("every column has a value for every row");
        Decoded { rows, lines: self.lines, errors: self.errors, line_count }
    }
}

/// Iterates over the lines of a chunk, without their line feeds and carriage returns.
pub(crate) fn lines(chunk: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == chunk.len() {
            return None;
        }
        let feed = memchr::memchr(b'\n', &chunk[start..]);
        let end = feed.map_or(chunk.len(), |feed| start + feed);
        let line = start..end - usize::from(chunk[start..end].ends_with(b"\r"));
        start = end + usize::from(feed.is_some());
        Some(line)
    })
}

/// The lines of a chunk as text. One check of the whole is much faster than one of each line.
pub(crate) struct TextLines<'a> {
    chunk: &'a [u8],
    text: Option<&'a str>,
}

impl<'a> TextLines<'a> {
    pub fn new(chunk: &'a [u8]) -> TextLines<'a> {
        TextLines { chunk, text: simdutf8::basic::from_utf8(chunk).ok() }
    }

    /// Returns a line, or why it is no text.
    pub fn get(&self, line: &Range<usize>) -> Result<&'a str, String> {
        match self.text {
            Some(text) => Ok(&text[line.clone()]),
            None => text(&self.chunk[line.clone()]),
        }
    }
}

/// Returns a record as text, or says at which byte, from 1, it stops being UTF-8.
pub(crate) fn text(record: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(record).map_err(|error| {
        let at = error.valid_up_to();
        format!("not UTF-8 at byte {} (0x{:02x})", at + 1, record[at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_line_feeds_or_at_the_end() {
        for (text, wanted) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\n", vec!["a"]),
            ("a\r\nb", vec!["a", "b"]),
            ("\n\na\n\n", vec!["", "", "a", ""]),
            ("a\r", vec!["a"]),
        ] {
            let found: Vec<&str> = lines(text.as_bytes()).map(|line| &text[line]).collect();
            assert_eq!(found, wanted, "{text:?}");
        }
    }

    #[test]
    fn a_frame_holds_whole_lines() {
        for (text, at_end, wanted) in
            [("", false, 0), ("ab", false, 0), ("ab", true, 2), ("a\nb", false, 2), ("a\nb", true, 3), ("a\n", true, 2)]
        {
            assert_eq!(LineFramer.complete(text.as_bytes(), at_end), Ok(wanted), "{text:?}");
        }
        let error = LineFramer.complete(&vec![b'x'; MAX_RECORD + 1], true).unwrap_err();
        assert_eq!(error.to_string(), "a line is longer than 16 MiB; is this a text file, and not compressed?");
    }

    #[test]
    fn a_bad_row_keeps_the_start_of_the_record() {
        let long = format!("a{}", "é".repeat(1000));
        let raw = BadRow::new(0, "x", long.as_bytes()).raw;
        assert_eq!(raw, format!("a{}…", "é".repeat(511)));
        assert_eq!(BadRow::new(0, "x", b"a\xff").raw, "a\u{fffd}");
    }

    #[test]
    fn lines_of_rows_are_noted_from_the_first_gap_on() {
        let mut outcome = Outcome::default();
        outcome.row(0);
        outcome.row(1);
        assert_eq!(outcome.lines, None);
        outcome.row(4);
        outcome.row(5);
        assert_eq!(outcome.lines, Some(vec![0, 1, 4, 5]));
    }
}
