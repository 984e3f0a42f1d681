//! Values as plain text: keys, and columns cast to `string`.

use crate::data::schema::Type;
use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::{DateTime, NaiveDate, SecondsFormat};

/// Whether values of a type have a text form.
pub(crate) fn is_writable(ty: &Type) -> bool {
    !matches!(ty, Type::Binary | Type::List(_) | Type::Struct(_) | Type::Other(_))
}

/// Writes the values of a column of a writable type: text and JSON as they are, instants as `2022-01-02T03:04:05Z`,
/// days as `2022-01-02`, numbers in the shortest form that reads back. Null stays null.
///
/// # Errors
/// Arrow cannot make the column, which means that it has too many bytes.
pub(crate) fn write(column: &ArrayRef, ty: &Type) -> Result<StringArray, ArrowError> {
    Ok(match ty {
        Type::String | Type::Json => column.as_string().clone(),
        Type::Timestamp => {
            column.as_primitive::<TimestampMicrosecondType>().iter().map(|value| value.map(instant)).collect()
        }
        Type::Date => column.as_primitive::<Date32Type>().iter().map(|value| value.map(day)).collect(),
        _ => cast(column, &DataType::Utf8)?.as_string().clone(),
    })
}

fn instant(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        // Beyond the calendar, in year 262143.
        None => micros.to_string(),
    }
}

fn day(days: i32) -> String {
    NaiveDate::from_epoch_days(days).map_or_else(|| days.to_string(), |day| day.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{BooleanArray, Date32Array, Float64Array, Int32Array, TimestampMicrosecondArray, UInt64Array};
    use std::sync::Arc;

    #[test]
    fn every_scalar_has_a_text() {
        let instants = TimestampMicrosecondArray::from(vec![0, 1_641_092_645_120_000]).with_timezone("UTC");
        let columns: [(ArrayRef, Type, [&str; 2]); 6] = [
            (Arc::new(Int32Array::from(vec![-1, 7])), Type::Int32, ["-1", "7"]),
            (Arc::new(UInt64Array::from(vec![0, u64::MAX])), Type::Uint64, ["0", "18446744073709551615"]),
            (Arc::new(BooleanArray::from(vec![true, false])), Type::Bool, ["true", "false"]),
            (Arc::new(Float64Array::from(vec![1.0, 0.1])), Type::Float64, ["1.0", "0.1"]),
            (Arc::new(instants), Type::Timestamp, ["1970-01-01T00:00:00Z", "2022-01-02T03:04:05.120Z"]),
            (Arc::new(Date32Array::from(vec![0, -1])), Type::Date, ["1970-01-01", "1969-12-31"]),
        ];
        for (column, ty, wanted) in columns {
            assert!(is_writable(&ty));
            assert_eq!(write(&column, &ty).unwrap(), StringArray::from(wanted.to_vec()), "{ty}");
        }
    }
}
