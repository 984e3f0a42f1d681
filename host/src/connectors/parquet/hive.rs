//! Folders that carry values, as Hive, Spark and pyarrow write them: `year=2024/page=%2Fhome`.

use crate::data::schema::Type;
use arrow::array::{Array, ArrayRef, Int64Array, StringArray, new_null_array};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use std::path::{Component, Path};
use std::sync::Arc;

/// What stands for a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";
/// The longest name that file systems take.
const LONGEST: usize = 255;

/// Whether values of a type can be part of a path.
pub(super) fn can_name(ty: &Type) -> bool {
    use Type::{Bool, Date, Int32, Int64, String, Timestamp, Uint32, Uint64};
    matches!(ty, Bool | Int32 | Int64 | Uint32 | Uint64 | String | Date | Timestamp)
}

/// Writes the folders of a row, with a slash behind each.
///
/// # Errors
/// A name is too long for file systems; the text says which.
pub(super) fn folders(columns: &[(String, ArrayRef)], row: usize) -> Result<String, String> {
    let mut path = String::new();
    for (name, column) in columns {
        let start = path.len();
        escape(name, &mut path);
        path.push('=');
        match column.is_null(row) {
            true => path.push_str(NULL),
            false => {
                let value = array_value_to_string(column, row).map_err(|error: ArrowError| error.to_string())?;
                escape(&value, &mut path);
            }
        }
        if path.len() - start > LONGEST {
            return Err(format!("the value of {name:?} is too long to name a folder"));
        }
        path.push('/');
    }
    Ok(path)
}

/// Escapes all but letters, digits, `-`, `_`, `.` and `~`.
fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                for digit in [byte >> 4, byte & 15] {
                    out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
                }
            }
        }
    }
}

/// Reads the values that the folders of a path carry; None stands for a null.
pub(super) fn values(path: &Path) -> Vec<(String, Option<String>)> {
    let folders = path.parent().into_iter().flat_map(Path::components);
    let pairs = folders.filter_map(|folder| match folder {
        Component::Normal(name) => {
            let (name, value) = name.to_str()?.split_once('=')?;
            Some((unescape(name), (value != NULL).then(|| unescape(value))))
        }
        _ => None,
    });
    pairs.collect()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Tells the type of a column from all its values: `int64` if all of them are such numbers, else `string`.
pub(super) fn type_of<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Type {
    let mut values = values.flatten().peekable();
    let is_number = values.peek().is_some() && values.all(|value| value.parse::<i64>().is_ok());
    if is_number { Type::Int64 } else { Type::String }
}

/// Makes a column that has one value in all rows.
///
/// # Errors
/// The value is not of the type.
pub(super) fn column(value: Option<&str>, ty: &Type, rows: usize) -> Result<ArrayRef, String> {
    match (value, ty) {
        (None, _) => Ok(new_null_array(&ty.data_type(), rows)),
        (Some(text), Type::Int64) => match text.parse::<i64>() {
            Ok(number) => Ok(Arc::new(Int64Array::from_value(number, rows))),
            Err(_) => Err(format!("expected an int64, found {text:?}")),
        },
        (Some(text), _) => Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Date32Array;

    #[test]
    fn values_are_escaped_in_paths_and_read_back() {
        for (value, folder) in [
            (Some("/home"), "p=%2Fhome/"),
            (Some("a b=ü.."), "p=a%20b%3D%C3%BC../"),
            (Some(""), "p=/"),
            (None, "p=__HIVE_DEFAULT_PARTITION__/"),
        ] {
            let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
            let path = folders(&[("p".to_owned(), column)], 0).unwrap();
            assert_eq!(path, folder);
            let read = values(&Path::new(&path).join("x.parquet"));
            assert_eq!(read, [("p".to_owned(), value.map(str::to_owned))]);
        }
        let day: ArrayRef = Arc::new(Date32Array::from(vec![0]));
        assert_eq!(folders(&[("d".to_owned(), day)], 0).unwrap(), "d=1970-01-01/");
        let long: ArrayRef = Arc::new(StringArray::from(vec!["/".repeat(90)]));
        assert_eq!(
            folders(&[("p".to_owned(), long)], 0).unwrap_err(),
            "the value of \"p\" is too long to name a folder"
        );
    }

    #[test]
    fn numbers_in_paths_are_numbers_if_all_are() {
        for (values, ty) in [
            (vec![Some("2024"), None, Some("-1")], Type::Int64),
            (vec![Some("01"), Some("x")], Type::String),
            (vec![None], Type::String),
        ] {
            assert_eq!(type_of(values.iter().copied()), ty, "{values:?}");
        }
    }
}
