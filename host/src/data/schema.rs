//! The types of columns, the one way in which they are written, and their Arrow form.
//!
//! A schema reads the same in flow.toml, in messages and in `wxhost check`: `user_id: string, value: float64`.
//! A type has exactly one Arrow form (see [`Type::field`]), so that batches of equal types can be put together
//! whatever they were read from. Other spellings of the same values, as Parquet files bring them, are brought to that
//! form by [`normalise`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

/// The key of a field's metadata under which Arrow writes the name of an extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
/// Arrow's canonical extension for JSON text.
const JSON_EXTENSION: &str = "arrow.json";
/// How deep a written type may nest. Real ones stay below ten; the parser recurses.
const MAX_DEPTH: usize = 64;

/// The type of a column, of a list's items or of a struct's member. Values of all types may be null.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Float32,
    Float64,
    /// Text in UTF-8.
    String,
    /// Any bytes.
    Binary,
    /// An instant, in microseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// A day, counted from 1970-01-01.
    Date,
    /// JSON text of any value, checked when it was read.
    Json,
    List(Box<Type>),
    /// Named members in their order. No name occurs twice.
    Struct(Vec<(String, Type)>),
    /// An Arrow type without a name here. It passes through native steps; no guest can read it.
    Other(DataType),
}

impl Type {
    /// Returns the type of an Arrow field.
    pub fn of(field: &Field) -> Type {
        match field.data_type() {
            DataType::Boolean => Type::Bool,
            DataType::Int32 => Type::Int32,
            DataType::Int64 => Type::Int64,
            DataType::UInt32 => Type::Uint32,
            DataType::UInt64 => Type::Uint64,
            DataType::Float32 => Type::Float32,
            DataType::Float64 => Type::Float64,
            DataType::Utf8 if is_json(field) => Type::Json,
            DataType::Utf8 => Type::String,
            DataType::Binary => Type::Binary,
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => Type::Timestamp,
            DataType::Date32 => Type::Date,
            DataType::List(item) => Type::List(Box::new(Type::of(item))),
            DataType::Struct(members) => {
                Type::Struct(members.iter().map(|member| (member.name().clone(), Type::of(member))).collect())
            }
            other => Type::Other(other.clone()),
        }
    }

    /// Returns the Arrow field of this type: nullable, and the same for equal names and types.
    pub fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        match self {
            Type::Json => field.with_metadata([(EXTENSION_NAME.to_owned(), JSON_EXTENSION.to_owned())]),
            _ => field,
        }
    }

    /// Returns the Arrow type. `json` is told from `string` by the field only.
    pub fn data_type(&self) -> DataType {
        match self {
            Type::Bool => DataType::Boolean,
            Type::Int32 => DataType::Int32,
            Type::Int64 => DataType::Int64,
            Type::Uint32 => DataType::UInt32,
            Type::Uint64 => DataType::UInt64,
            Type::Float32 => DataType::Float32,
            Type::Float64 => DataType::Float64,
            Type::String | Type::Json => DataType::Utf8,
            Type::Binary => DataType::Binary,
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Type::Date => DataType::Date32,
            Type::List(item) => DataType::List(Arc::new(item.field(Field::LIST_FIELD_DEFAULT_NAME))),
            Type::Struct(members) => DataType::Struct(fields(members)),
            Type::Other(other) => other.clone(),
        }
    }

    /// Says whether a plugin can be handed a column of this type.
    pub fn is_guest_readable(&self) -> bool {
        match self {
            Type::Other(_) => false,
            Type::List(item) => item.is_guest_readable(),
            Type::Struct(members) => members.iter().all(|(_, member)| member.is_guest_readable()),
            _ => true,
        }
    }
}

/// Makes the Arrow schema of named columns.
pub fn schema_of(columns: &[(String, Type)]) -> SchemaRef {
    Arc::new(Schema::new(fields(columns)))
}

/// Writes a schema as in `user_id: string, value: float64`.
pub fn describe(schema: &Schema) -> String {
    let columns = schema.fields().iter();
    columns.map(|field| format!("{}: {}", Name(field.name()), Type::of(field))).collect::<Vec<_>>().join(", ")
}

/// Returns the schema that [`normalise`] gives to batches of `schema`.
pub fn normalised_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| normal(field).field(field.name())).collect::<Fields>()))
}

/// Brings the columns of a batch to the Arrow form of their types.
///
/// Casts wide, view and dictionary strings to `string` (the same for `binary` and lists), timestamps of any unit and
/// zone to `timestamp`, integers of 8 and 16 bits to those of 32, half floats to `float32`, `Date64` to `date`.
/// Leaves other types as they are. Fails when a value does not fit, such as a year that has no microseconds.
pub fn normalise(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let source = batch.schema();
    let schema = normalised_schema(&source);
    if schema == source {
        return Ok(batch);
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        convert(column, &Type::of(field))
            .map_err(|error| ArrowError::CastError(format!("column {:?}: {error}", field.name())))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).is_some_and(|name| name == JSON_EXTENSION)
}

fn fields(columns: &[(String, Type)]) -> Fields {
    columns.iter().map(|(name, column)| column.field(name)).collect()
}

/// Returns the type to which a field is normalised.
fn normal(field: &Field) -> Type {
    match field.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View if is_json(field) => Type::Json,
        DataType::LargeUtf8 | DataType::Utf8View => Type::String,
        DataType::LargeBinary | DataType::BinaryView => Type::Binary,
        DataType::Int8 | DataType::Int16 => Type::Int32,
        DataType::UInt8 | DataType::UInt16 => Type::Uint32,
        DataType::Float16 => Type::Float32,
        DataType::Timestamp(..) => Type::Timestamp,
        DataType::Date64 => Type::Date,
        DataType::Dictionary(_, value) => normal(&field.clone().with_data_type(value.as_ref().clone())),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Type::List(Box::new(normal(item)))
        }
        DataType::Struct(members) => {
            Type::Struct(members.iter().map(|member| (member.name().clone(), normal(member))).collect())
        }
        _ => Type::of(field),
    }
}

/// Converts a column to the Arrow form of its normal type.
fn convert(array: &ArrayRef, to: &Type) -> Result<ArrayRef, ArrowError> {
    let wanted = to.data_type();
    if *array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    // A value that does not fit must be an error, not a null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match (array.data_type(), to) {
        (DataType::Dictionary(_, value), _) => convert(&cast_with_options(array, value, &options)?, to),
        // Arrow stores instants in UTC whatever the zone says, so the zone can be renamed; its cast would need a
        // database of time zones.
        (DataType::Timestamp(_, zone), Type::Timestamp) => {
            let array = cast_with_options(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), &options)?;
            Ok(Arc::new(array.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC")))
        }
        (DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _), Type::List(to_item)) => {
            let array = cast_with_options(array, &DataType::List(Arc::clone(item)), &options)?;
            let (_, offsets, items, nulls) = array.as_list::<i32>().clone().into_parts();
            let field = FieldRef::from(to_item.field(Field::LIST_FIELD_DEFAULT_NAME));
            Ok(Arc::new(ListArray::try_new(field, offsets, convert(&items, to_item)?, nulls)?))
        }
        (DataType::Struct(_), Type::Struct(members)) => {
            let (_, columns, nulls) = array.as_struct().clone().into_parts();
            let columns = columns.iter().zip(members).map(|(column, (_, member))| convert(column, member));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields(members), columns, nulls, array.len())?))
        }
        _ => cast_with_options(array, &wanted, &options),
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(item) => write!(f, "list<{item}>"),
            Type::Struct(members) => {
                f.write_str("struct<")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {member}", Name(name))?;
                }
                f.write_str(">")
            }
            Type::Other(other) => write!(f, "{other}"),
            scalar => {
                let (name, _) = SCALARS.iter().find(|(_, t)| t == scalar).expect("every scalar type has a name");
                f.write_str(name)
            }
        }
    }
}

/// The types without parameters, by their names.
const SCALARS: &[(&str, Type)] = &[
    ("bool", Type::Bool),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint32", Type::Uint32),
    ("uint64", Type::Uint64),
    ("float32", Type::Float32),
    ("float64", Type::Float64),
    ("string", Type::String),
    ("binary", Type::Binary),
    ("timestamp", Type::Timestamp),
    ("date", Type::Date),
    ("json", Type::Json),
];

/// What people write who come from elsewhere, and what they mean here.
const FOREIGN_NAMES: &[(&str, &str)] = &[
    ("boolean", "bool"),
    ("int", "int64"),
    ("integer", "int64"),
    ("bigint", "int64"),
    ("long", "int64"),
    ("uint", "uint64"),
    ("float", "float64"),
    ("double", "float64"),
    ("number", "float64"),
    ("text", "string"),
    ("str", "string"),
    ("varchar", "string"),
    ("utf8", "string"),
    ("bytes", "binary"),
    ("datetime", "timestamp"),
    ("time", "timestamp"),
    ("any", "json"),
    ("array", "list<string>"),
    ("object", "struct<a: string>"),
    ("list", "list<string>"),
    ("struct", "struct<a: string>"),
];

/// A name as it is written in a schema: in quotes unless it is a plain word.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = !self.0.is_empty() && self.0.chars().all(is_word);
        if is_plain { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@')
}

/// Says why a text is no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseTypeError(String);

impl FromStr for Type {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Type, ParseTypeError> {
        let mut parser = Parser { text, rest: text };
        let parsed = parser.data_type(0)?;
        parser.skip_space();
        match parser.rest {
            "" => Ok(parsed),
            rest => Err(ParseTypeError(format!("unexpected {rest:?} after {parsed} in type {text:?}"))),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn data_type(&mut self, depth: usize) -> Result<Type, ParseTypeError> {
        if depth > MAX_DEPTH {
            return Err(ParseTypeError(format!("a type nests at most {MAX_DEPTH} levels")));
        }
        let word = self.word();
        if let Some((_, scalar)) = SCALARS.iter().find(|(name, _)| *name == word) {
            return Ok(scalar.clone());
        }
        match word {
            "list" if self.eat('<') => {
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                Ok(Type::List(Box::new(item)))
            }
            "struct" if self.eat('<') => self.members(depth + 1),
            unknown => Err(self.unknown(unknown)),
        }
    }

    /// Reads what follows `struct<`.
    fn members(&mut self, depth: usize) -> Result<Type, ParseTypeError> {
        let mut members: Vec<(String, Type)> = Vec::new();
        while !self.eat('>') {
            if !members.is_empty() {
                self.expect(',')?;
            }
            let name = self.name()?;
            if members.iter().any(|(other, _)| *other == name) {
                return Err(ParseTypeError(format!("the member {name:?} occurs twice in type {:?}", self.text)));
            }
            self.expect(':')?;
            members.push((name, self.data_type(depth)?));
        }
        Ok(Type::Struct(members))
    }

    fn name(&mut self) -> Result<String, ParseTypeError> {
        if !self.eat('"') {
            return match self.word() {
                "" => Err(ParseTypeError(format!("expected a name before {:?} in type {:?}", self.rest, self.text))),
                word => Ok(word.to_owned()),
            };
        }
        let mut name = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => name.extend(chars.next()),
                Some(c) => name.push(c),
                None => return Err(ParseTypeError(format!("a quote is not closed in type {:?}", self.text))),
            }
        }
        self.rest = chars.as_str();
        Ok(name)
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), ParseTypeError> {
        if self.eat(wanted) {
            return Ok(());
        }
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
        Err(ParseTypeError(format!("expected {wanted:?}, found {found} in type {:?}", self.text)))
    }

    fn unknown(&self, word: &str) -> ParseTypeError {
        let lower = word.to_ascii_lowercase();
        let by_habit = FOREIGN_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, meant)| *meant);
        let by_spelling = || {
            let names = SCALARS.iter().map(|(name, _)| (strsim::jaro_winkler(&lower, name), *name));
            names.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
        };
        let hint = match by_habit.or_else(by_spelling) {
            Some(meant) => format!(", did you mean \"{meant}\"?"),
            None => ";".to_owned(),
        };
        let names = SCALARS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        ParseTypeError(format!("unknown type {word:?}{hint} types are {names}, list<type>, struct<name: type, ...>"))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, DictionaryArray, Int8Array, Int32Array, LargeListArray, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::{Int8Type, Int64Type};

    use super::*;

    #[test]
    fn a_type_reads_back_as_it_is_written() {
        for text in [
            "bool",
            "int32",
            "int64",
            "uint32",
            "uint64",
            "float32",
            "float64",
            "string",
            "binary",
            "timestamp",
            "date",
            "json",
            "list<json>",
            "struct<>",
            "list<list<struct<a: int64, b-c: list<string>, \"with \\\"quote\\\" and: colon\": date>>>",
        ] {
            let parsed: Type = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(Type::of(&parsed.field("x")), parsed, "{text}");
            assert!(parsed.is_guest_readable());
        }
        let spaced: Type = " struct < a :int64,b: list< string > > ".parse().unwrap();
        assert_eq!(spaced.to_string(), "struct<a: int64, b: list<string>>");
    }

    #[test]
    fn a_text_that_is_no_type_is_refused_with_advice() {
        let names = "types are bool, int32, int64, uint32, uint64, float32, float64, string, binary, timestamp, date, \
                     json, list<type>, struct<name: type, ...>";
        for (text, message) in [
            ("strng", format!("unknown type \"strng\", did you mean \"string\"? {names}")),
            ("Int64", format!("unknown type \"Int64\", did you mean \"int64\"? {names}")),
            ("list<double>", format!("unknown type \"double\", did you mean \"float64\"? {names}")),
            ("list", format!("unknown type \"list\", did you mean \"list<string>\"? {names}")),
            ("xyz", format!("unknown type \"xyz\"; {names}")),
            ("list<int64", "expected '>', found the end in type \"list<int64\"".to_owned()),
            ("struct<a int64>", "expected ':', found 'i' in type \"struct<a int64>\"".to_owned()),
            (
                "struct<a: bool, a: bool>",
                "the member \"a\" occurs twice in type \"struct<a: bool, a: bool>\"".to_owned(),
            ),
            ("struct<: bool>", "expected a name before \": bool>\" in type \"struct<: bool>\"".to_owned()),
            ("struct<\"a: bool>", "a quote is not closed in type \"struct<\\\"a: bool>\"".to_owned()),
            ("int64 x", "unexpected \"x\" after int64 in type \"int64 x\"".to_owned()),
        ] {
            assert_eq!(text.parse::<Type>().unwrap_err().to_string(), message);
        }
        assert!("list<".repeat(100_000).parse::<Type>().is_err());
    }

    #[test]
    fn a_schema_is_described_in_the_notation_of_flows() {
        let schema = schema_of(&[
            ("user_id".to_owned(), Type::String),
            ("value".to_owned(), Type::Float64),
            ("two words".to_owned(), Type::Json),
        ]);
        assert_eq!(describe(&schema), "user_id: string, value: float64, \"two words\": json");
    }

    #[test]
    fn other_spellings_become_the_normal_form() {
        let dictionary: DictionaryArray<Int8Type> = vec![Some("a"), None].into_iter().collect();
        let list = LargeListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
        let seconds = TimestampNanosecondArray::from(vec![Some(1_500), None]).with_timezone("Europe/Berlin");
        let inner_field = Field::new("t", seconds.data_type().clone(), true);
        let inner = StructArray::from(vec![(Arc::new(inner_field), Arc::new(seconds.clone()) as ArrayRef)]);
        let columns: Vec<(&str, ArrayRef, &str)> = vec![
            ("view", Arc::new(StringViewArray::from(vec![Some("x"), None])), "string"),
            ("large", Arc::new(LargeStringArray::from(vec![Some("x"), None])), "string"),
            ("dictionary", Arc::new(dictionary), "string"),
            ("tiny", Arc::new(Int8Array::from(vec![Some(-1), None])), "int32"),
            ("list", Arc::new(list), "list<int64>"),
            ("zone", Arc::new(seconds), "timestamp"),
            ("naive", Arc::new(TimestampMicrosecondArray::from(vec![Some(7), None])), "timestamp"),
            ("inner", Arc::new(inner), "struct<t: timestamp>"),
            ("day", Arc::new(Date32Array::from(vec![Some(1), None])), "date"),
        ];
        for (name, column, wanted) in columns {
            let batch = RecordBatch::try_from_iter_with_nullable([(name, column, true)]).unwrap();
            let schema = normalised_schema(&batch.schema());
            let normal = normalise(batch).unwrap();
            assert_eq!(normal.schema(), schema);
            assert_eq!(describe(&schema), format!("{name}: {wanted}"));
            assert_eq!(normalise(normal.clone()).unwrap(), normal);
        }
    }

    #[test]
    fn values_survive_normalisation_and_what_does_not_fit_is_an_error() {
        let nanos = TimestampNanosecondArray::from(vec![1_500, 3_000_000]).with_timezone("Europe/Berlin");
        let strings: DictionaryArray<Int8Type> = vec!["a", "b"].into_iter().collect();
        let batch = RecordBatch::try_from_iter([
            ("t", Arc::new(nanos) as ArrayRef),
            ("s", Arc::new(strings) as ArrayRef),
            ("n", Arc::new(Int8Array::from(vec![-1, 2])) as ArrayRef),
        ]);
        let normal = normalise(batch.unwrap()).unwrap();
        assert_eq!(normal.column(0).as_primitive::<TimestampMicrosecondType>().values(), &[1, 3_000]);
        assert_eq!(normal.column(1).as_ref(), &StringArray::from(vec!["a", "b"]));
        assert_eq!(normal.column(2).as_ref(), &Int32Array::from(vec![-1, 2]));

        let far = arrow::array::TimestampSecondArray::from(vec![i64::MAX]);
        let batch = RecordBatch::try_from_iter([("t", Arc::new(far) as ArrayRef)]).unwrap();
        assert!(normalise(batch).unwrap_err().to_string().contains("column \"t\": "));
    }

    #[test]
    fn decimals_pass_and_are_not_for_guests() {
        let field = Field::new("price", DataType::Decimal128(10, 2), true);
        let schema = Schema::new(vec![field.clone()]);
        assert_eq!(normalised_schema(&schema).field(0).data_type(), field.data_type());
        assert!(!Type::List(Box::new(Type::of(&field))).is_guest_readable());
        assert_eq!(describe(&schema), "price: Decimal128(10, 2)");
    }
}
