//! The types of columns and their Arrow form.
//!
//! A schema reads the same in flow.toml, in messages and in `wxhost check`: `user_id: string, value: float64`.
//! A type has exactly one Arrow form (see [`Type::field`]), so that batches of equal types can be put together
//! whatever they were read from. Other spellings of the same values, as Parquet files bring them, are brought to that
//! form by [`normalise`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, StructArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::data::notation::Name;
pub use crate::data::notation::ParseTypeError;

/// The key of a field's metadata under which Arrow writes the name of an extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
/// Arrow's canonical extension for JSON text.
const JSON_EXTENSION: &str = "arrow.json";

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

#[cfg(test)]
mod tests {
    use arrow::array::{
        Date32Array, DictionaryArray, Int8Array, Int32Array, LargeListArray, LargeStringArray, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::{Int8Type, Int64Type};

    use super::*;

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
