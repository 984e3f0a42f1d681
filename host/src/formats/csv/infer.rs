//! The columns of a CSV file, from its start.

use crate::data::schema::Type;
use crate::formats::csv::decode::names;
use crate::formats::csv::field::parse_bool;
use crate::formats::csv::record::{Dialect, RecordReader};
use crate::formats::decoder::text;
use crate::formats::error::FormatError;
use crate::formats::json::is_instant;
use crate::formats::timestamp;

/// What the columns become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldTypes {
    /// All are `string`.
    Text,
    /// What all fields of the sample can be read as: `bool`, `int64`, `float64`, `timestamp`, `date`, else `string`.
    Guessed,
}

/// Tells the columns of a CSV file from a sample of whole records, the first of which is the header.
///
/// Records with another number of fields are left out. Fails without a header, or when it has a name twice or an
/// empty one.
pub fn infer(sample: &[u8], dialect: Dialect, types: FieldTypes) -> Result<Vec<(String, Type)>, FormatError> {
    let mut reader = RecordReader::new(dialect);
    let mut place = reader.start(sample);
    let Some(header) = reader.next(sample, &mut place) else {
        return Err(FormatError::Infer("there is no header".to_owned()));
    };
    let names = names(&header)?;
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(FormatError::Header(format!("field {} of the header is empty", index + 1)));
        }
        if names[..index].contains(name) {
            return Err(FormatError::Header(format!("the header has {name:?} twice")));
        }
    }
    let mut guesses = vec![Guess::default(); names.len()];
    while let Some(record) = reader.next(sample, &mut place).filter(|_| types == FieldTypes::Guessed) {
        let Ok(all) = text(record.text) else { continue };
        if record.count() == names.len() && !record.is_open {
            record.fields().zip(&mut guesses).for_each(|(field, guess)| guess.look(all[field].trim_ascii()));
        }
    }
    Ok(names.into_iter().zip(guesses.iter().map(Guess::data_type)).collect())
}

/// Says whether a field can be read as a type.
type Takes = fn(&str) -> bool;

/// The first of these types that takes all fields is the column's, if there were any.
const CANDIDATES: [(Type, Takes); 5] = [
    (Type::Bool, |text| parse_bool(text).is_some()),
    (Type::Int64, |text| is_plain(text) && text.parse::<i64>().is_ok()),
    (Type::Float64, |text| is_plain(text) && text.parse::<f64>().is_ok_and(f64::is_finite)),
    (Type::Timestamp, is_instant),
    (Type::Date, |text| timestamp::parse_date(text).is_some()),
];

/// Numbers with leading zeros or a plus are mostly codes, such as those of phones and places.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    match digits {
        [b'0', second, ..] => *second == b'.',
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    }
}

#[derive(Clone, Default)]
struct Guess {
    has_seen: bool,
    is_refused: [bool; CANDIDATES.len()],
}

impl Guess {
    fn look(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.has_seen = true;
        for (refused, (_, takes)) in self.is_refused.iter_mut().zip(&CANDIDATES) {
            *refused = *refused || !takes(text);
        }
    }

    fn data_type(&self) -> Type {
        let left = self.is_refused.iter().position(|refused| !refused).filter(|_| self.has_seen);
        left.map_or(Type::String, |place| CANDIDATES[place].0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{describe, schema_of};

    #[test]
    fn types_are_told_from_the_fields() {
        let sample = concat!(
            "\u{feff}b,i,f,t,d,s,zip,none\n",
            "true,1,1,2022-01-02T03:04:05Z,2022-01-02,x,01234,\n",
            "FALSE, -7 ,2.5,2022-01-02T03:04:05.5+01:00,2022-01-03,1,56789,\n",
            ",,,,,,,\n",
            "too,short\n",
        );
        let columns =
            |types| infer(sample.as_bytes(), Dialect::default(), types).map(|columns| describe(&schema_of(&columns)));
        assert_eq!(
            columns(FieldTypes::Guessed).unwrap(),
            "b: bool, i: int64, f: float64, t: timestamp, d: date, s: string, zip: string, none: string"
        );
        assert_eq!(
            columns(FieldTypes::Text).unwrap(),
            "b: string, i: string, f: string, t: string, d: string, s: string, zip: string, none: string"
        );
    }

    #[test]
    fn a_header_that_names_no_columns_is_refused() {
        for (sample, message) in [
            ("", "cannot tell the columns from the first lines: there is no header"),
            ("a,,b\n", "field 2 of the header is empty"),
            ("a,b,a\n", "the header has \"a\" twice"),
        ] {
            let error = infer(sample.as_bytes(), Dialect::default(), FieldTypes::Text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
