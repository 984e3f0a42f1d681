//! Where CSV records begin and end.

use std::ops::Range;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::formats::decoder::{Framer, MAX_RECORD};
use crate::formats::error::FormatError;

/// What editors put before text in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What separates fields, and what encloses those that hold a separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
}

impl Dialect {
    /// Makes a dialect; without a quote, quotes mean themselves. Fails unless both are ASCII, different, and no line end.
    pub fn new(delimiter: char, quote: Option<char>) -> Result<Dialect, FormatError> {
        let byte = |name: &str, c: char| match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(byte),
            _ => {
                Err(FormatError::Options(format!("the {name} must be an ASCII character and no line end, found {c:?}")))
            }
        };
        let dialect = Dialect {
            delimiter: byte("delimiter", delimiter)?,
            quote: quote.map(|quote| byte("quote", quote)).transpose()?,
        };
        if dialect.quote == Some(dialect.delimiter) {
            return Err(FormatError::Options(format!("delimiter and quote are both {delimiter:?}")));
        }
        Ok(dialect)
    }

    pub(crate) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    pub(crate) fn quote(&self) -> Option<u8> {
        self.quote
    }
}

impl Default for Dialect {
    fn default() -> Dialect {
        Dialect { delimiter: b',', quote: Some(b'"') }
    }
}

/// Cuts after line feeds that are not within quotes.
#[derive(Debug)]
pub struct CsvFramer {
    dialect: Dialect,
}

impl CsvFramer {
    pub fn new(dialect: Dialect) -> CsvFramer {
        CsvFramer { dialect }
    }
}

impl Framer for CsvFramer {
    fn complete(&mut self, buffer: &[u8], at_end: bool) -> Result<usize, FormatError> {
        let end = scan(buffer, self.dialect).end;
        if buffer.len() - end > MAX_RECORD {
            return Err(FormatError::TooLong { record: "record", limit: MAX_RECORD, hint: "is a quote not closed?" });
        }
        Ok(if at_end { buffer.len() } else { end })
    }
}

struct Scan {
    /// The end of the last whole record.
    end: usize,
    /// Whether a quote is open after the last byte.
    is_quoted: bool,
}

/// Follows the quotes through text that starts with a record, as `csv-core` does.
fn scan(text: &[u8], dialect: Dialect) -> Scan {
    let Some(quote) = dialect.quote else {
        return Scan { end: memchr::memrchr(b'\n', text).map_or(0, |feed| feed + 1), is_quoted: false };
    };
    let start = if text.starts_with(MARK) { MARK.len() } else { 0 };
    let mut scan = Scan { end: 0, is_quoted: false };
    let mut at = start;
    while let Some(found) = memchr::memchr2(quote, b'\n', &text[at..]) {
        let here = at + found;
        at = here + 1;
        match (text[here] == quote, scan.is_quoted) {
            (false, true) => {}
            (false, false) => scan.end = at,
            (true, true) if text.get(at) == Some(&quote) => at += 1,
            (true, true) => scan.is_quoted = false,
            (true, false) => {
                let before = text[start..here].last();
                scan.is_quoted = before.is_none_or(|c| *c == dialect.delimiter || matches!(c, b'\n' | b'\r'));
            }
        }
    }
    scan
}

/// Reads the records of a chunk; keeps its buffers for the next chunk.
pub(crate) struct RecordReader {
    dialect: Dialect,
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
}

/// How far a chunk has been read.
pub(crate) struct Place {
    at: usize,
    pub line: u32,
}

/// The fields of a record, without quotes.
pub(crate) struct Record<'a> {
    /// The line on which it starts, from 0.
    pub line: u32,
    /// The record as it stands in the chunk, without its line end.
    pub raw: &'a [u8],
    /// All fields, one after the other.
    pub text: &'a [u8],
    ends: &'a [usize],
    /// Whether the chunk ended within quotes.
    pub is_open: bool,
}

impl Record<'_> {
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Iterates over the places of the fields in `text`.
    pub fn fields(&self) -> impl Iterator<Item = Range<usize>> {
        let starts = std::iter::once(&0).chain(self.ends);
        starts.zip(self.ends).map(|(start, end)| *start..*end)
    }
}

impl RecordReader {
    pub fn new(dialect: Dialect) -> RecordReader {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(dialect.delimiter);
        match dialect.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        RecordReader { dialect, reader: builder.build(), text: vec![0; 1024], ends: vec![0; 64] }
    }

    /// Starts on a chunk.
    pub fn start(&mut self, chunk: &[u8]) -> Place {
        self.reader.reset();
        Place { at: if chunk.starts_with(MARK) { MARK.len() } else { 0 }, line: 0 }
    }

    /// Reads the next record; `None` at the end, when `place.line` is the number of lines.
    pub fn next<'a>(&'a mut self, chunk: &'a [u8], place: &mut Place) -> Option<Record<'a>> {
        while let Some(c @ (b'\n' | b'\r')) = chunk.get(place.at) {
            place.line += u32::from(*c == b'\n');
            place.at += 1;
        }
        let start = place.at;
        if start == chunk.len() {
            return None;
        }
        let (mut written, mut count, mut has_ended) = (0, 0, false);
        loop {
            let (text, ends) = (&mut self.text[written..], &mut self.ends[count..]);
            let (result, read, more_text, more_ends) = self.reader.read_record(&chunk[place.at..], text, ends);
            place.at += read;
            written += more_text;
            count += more_ends;
            match result {
                // The next call has nothing to read, which ends the record.
                ReadRecordResult::InputEmpty => has_ended = true,
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record | ReadRecordResult::End => break,
            }
        }
        let raw = &chunk[start..place.at];
        let line = place.line;
        place.line += memchr::memchr_iter(b'\n', raw).count() as u32;
        // The last line may lack its feed.
        place.line += u32::from(place.at == chunk.len() && !raw.ends_with(b"\n"));
        let is_open = has_ended && scan(raw, self.dialect).is_quoted;
        Some(Record { line, raw: trim_line_end(raw), text: &self.text[..written], ends: &self.ends[..count], is_open })
    }
}

fn trim_line_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(text: &str, dialect: Dialect) -> Vec<(u32, Vec<String>)> {
        let mut reader = RecordReader::new(dialect);
        let mut place = reader.start(text.as_bytes());
        let mut records = Vec::new();
        while let Some(record) = reader.next(text.as_bytes(), &mut place) {
            let fields = record.fields().map(|field| String::from_utf8(record.text[field].to_vec()).unwrap());
            records.push((record.line, fields.collect()));
        }
        assert_eq!(place.line as usize, text.lines().count(), "{text:?}");
        records
    }

    #[test]
    fn frames_end_after_line_feeds_that_are_not_in_quotes() {
        let plain = Dialect::new(',', None).unwrap();
        for (text, dialect, wanted) in [
            ("a,b\nc", Dialect::default(), 4),
            ("a,\"b\nc", Dialect::default(), 0),
            ("a,\"b\nc\"\nd", Dialect::default(), 8),
            ("x\n\"a\"\"\n\"\ny", Dialect::default(), 9),
            ("5\" pipe,b\n\"q\"z\"\nc", Dialect::default(), 16),
            ("\u{feff}\"a\nb\"\nc", Dialect::default(), 9),
            ("a,\"b\nc", plain, 5),
            ("a;'b\n'\n", Dialect::new(';', Some('\'')).unwrap(), 7),
        ] {
            let mut framer = CsvFramer::new(dialect);
            assert_eq!(framer.complete(text.as_bytes(), false), Ok(wanted), "{text:?}");
            assert_eq!(framer.complete(text.as_bytes(), true), Ok(text.len()));
            // What is complete does not change when more comes.
            for end in 0..text.len() {
                let partial = framer.complete(&text.as_bytes()[..end], false).unwrap();
                assert!(partial <= wanted, "{text:?} cut at {end}");
            }
        }
        let long = [&b"a,\""[..], &vec![b'\n'; MAX_RECORD]].concat();
        let message = CsvFramer::new(Dialect::default()).complete(&long, false).unwrap_err().to_string();
        assert_eq!(message, "a record is longer than 16 MiB; is a quote not closed?");
    }

    #[test]
    fn records_know_their_fields_and_their_line() {
        let fields = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            records("\n a ,\"b\n\"\"c\"\"\"\r\n\r\n,\nlast", Dialect::default()),
            [(1, fields(&[" a ", "b\n\"c\""])), (4, fields(&["", ""])), (5, fields(&["last"]))]
        );
        let wide = vec!["x".repeat(50); 100].join(";");
        let found = records(&format!("{wide}\n{wide}\n"), Dialect::new(';', None).unwrap());
        assert_eq!(found.iter().map(|(line, fields)| (*line, fields.len())).collect::<Vec<_>>(), [(0, 100), (1, 100)]);
        assert_eq!(records("\u{feff}\"a\",b", Dialect::default()), [(0, fields(&["a", "b"]))]);
        assert_eq!(records("", Dialect::default()), []);
    }

    #[test]
    fn a_dialect_that_makes_no_sense_is_refused() {
        for (delimiter, quote) in [('é', None), ('\n', None), (',', Some(',')), (',', Some('”'))] {
            assert!(Dialect::new(delimiter, quote).is_err());
        }
    }

    proptest! {
        #[test]
        fn records_are_the_same_however_the_file_is_cut(text in "[ab,\"\n\r]{0,60}", block in 1..20_usize) {
            let fields = |text: &str, all: &mut Vec<Vec<String>>| {
                let mut reader = RecordReader::new(Dialect::default());
                let mut place = reader.start(text.as_bytes());
                while let Some(record) = reader.next(text.as_bytes(), &mut place) {
                    let fields = record.fields().map(|field| String::from_utf8(record.text[field].to_vec()).unwrap());
                    all.push(fields.collect());
                }
            };
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            fields(&text, &mut whole);
            let (mut start, mut end) = (0, 0);
            while end < text.len() {
                end = (end + block).min(text.len());
                let buffer = &text.as_bytes()[start..end];
                let complete = CsvFramer::new(Dialect::default()).complete(buffer, end == text.len()).unwrap();
                fields(&text[start..start + complete], &mut pieces);
                start += complete;
            }
            prop_assert_eq!(pieces, whole);
        }
    }
}
