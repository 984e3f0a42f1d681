//! Casts: values of a column as another type.

use super::text;
use crate::data::schema::Type;
use crate::dataflow::user_fn::RowError;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use std::sync::Arc;

/// How much of a value a message shows.
const SHOWN: usize = 60;

/// Whether values of one type can be cast to another, though perhaps not each of them.
pub(super) fn is_possible(from: &Type, to: &Type) -> bool {
    if from == to {
        return true;
    }
    match (from, to) {
        (Type::Binary, Type::String) | (Type::String, Type::Binary) => true,
        (Type::Timestamp, Type::Date | Type::Int64) | (Type::Date, Type::Timestamp) => true,
        (Type::Bool, to) if is_number(to) => true,
        (Type::Other(from), to) if is_number(to) || *to == Type::String => can_cast_types(from, &to.data_type()),
        (from, Type::String) => text::is_writable(from),
        (Type::String, Type::Bool | Type::Timestamp | Type::Date) => true,
        (from, to) => is_number(to) && (is_number(from) || *from == Type::String),
    }
}

fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::Float32 | Type::Float64)
}

/// Casts a column, which must be possible. A value that cannot be cast becomes null; [`refused`] finds those.
///
/// # Errors
/// Arrow cannot make the column, which means that it has too many bytes.
pub(super) fn cast(column: &ArrayRef, from: &Type, to: &Type) -> Result<ArrayRef, ArrowError> {
    if from == to {
        return Ok(column.clone());
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let to_utc = |column: &dyn Array| -> ArrayRef {
        Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"))
    };
    match (from, to) {
        (Type::Bool | Type::Timestamp | Type::Date | Type::Json, Type::String) => {
            Ok(Arc::new(text::write(column, from)?))
        }
        // Arrow has no database of time zones here, not even one with UTC; without a zone it means the same.
        (_, Type::Timestamp) => {
            let naive = cast_with_options(column, &DataType::Timestamp(TimeUnit::Microsecond, None), &options)?;
            Ok(to_utc(&naive))
        }
        (Type::Timestamp, Type::Date) => {
            let naive = column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>);
            cast_with_options(&naive, &DataType::Date32, &options)
        }
        _ => cast_with_options(column, &to.data_type(), &options),
    }
}

/// The rows whose value was lost in a cast of the column `name`.
pub(super) fn refused(name: &str, before: &ArrayRef, after: &ArrayRef, to: &Type) -> Vec<RowError> {
    if after.logical_null_count() == before.logical_null_count() {
        return Vec::new();
    }
    let lost = (0..before.len()).filter(|&row| before.is_valid(row) && after.is_null(row));
    let error = |row: usize| {
        let value = array_value_to_string(before, row).unwrap_or_default();
        let value = match value.char_indices().nth(SHOWN) {
            Some((cut, _)) => format!("{:?}…", &value[..cut]),
            None => format!("{value:?}"),
        };
        let message = format!("column \"{name}\": {value} is no {to}");
        RowError { row: u32::try_from(row).expect("a batch has fewer than 2^32 rows"), message }
    };
    lost.map(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};

    #[test]
    fn values_are_cast_or_named() {
        let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
        let instants =
            |micros: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"));
        let noon = 1_672_574_400_000_000;
        let cases: Vec<(ArrayRef, Type, Type, ArrayRef)> = vec![
            (
                text(&["1", "-2", "x"]),
                Type::String,
                Type::Int64,
                Arc::new(Int64Array::from(vec![Some(1), Some(-2), None])),
            ),
            (text(&["0.5", "1e3"]), Type::String, Type::Float64, Arc::new(Float64Array::from(vec![0.5, 1000.0]))),
            (
                text(&["2023-01-01T12:00:00Z", "2023-01-01T14:00:00+02:00", "noon"]),
                Type::String,
                Type::Timestamp,
                instants(vec![Some(noon), Some(noon), None]),
            ),
            (instants(vec![Some(noon)]), Type::Timestamp, Type::Date, Arc::new(Date32Array::from(vec![19_358]))),
            (instants(vec![Some(noon)]), Type::Timestamp, Type::Int64, Arc::new(Int64Array::from(vec![noon]))),
            (instants(vec![Some(noon)]), Type::Timestamp, Type::String, text(&["2023-01-01T12:00:00Z"])),
            (
                Arc::new(Date32Array::from(vec![19_358])),
                Type::Date,
                Type::Timestamp,
                instants(vec![Some(noon - 43_200_000_000)]),
            ),
            (Arc::new(Float64Array::from(vec![1.9, 1e30])), Type::Float64, Type::Int64, {
                Arc::new(Int64Array::from(vec![Some(1), None]))
            }),
        ];
        for (column, from, to, wanted) in cases {
            assert!(is_possible(&from, &to), "{from} {to}");
            let got = cast(&column, &from, &to).unwrap();
            assert_eq!((got.data_type(), &got), (&to.data_type(), &wanted), "{from} {to}");
            assert_eq!(refused("a", &column, &got, &to).len(), got.null_count(), "{from} {to}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_cast_is_shown() {
        let column: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x\n")]));
        let after = cast(&column, &Type::String, &Type::Int64).unwrap();
        let wanted = RowError { row: 1, message: "column \"n\": \"x\\n\" is no int64".into() };
        assert_eq!(refused("n", &column, &after, &Type::Int64), [wanted]);
    }

    #[test]
    fn what_has_no_one_meaning_cannot_be_cast() {
        for (from, to) in [
            (Type::Int64, Type::Timestamp),
            (Type::String, Type::Json),
            (Type::Json, Type::Int64),
            (Type::Int64, Type::Bool),
            (Type::List(Type::Int64.into()), Type::String),
            (Type::Int64, Type::Binary),
        ] {
            assert!(!is_possible(&from, &to), "{from} {to}");
        }
    }
}
