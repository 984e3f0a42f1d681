//! Tests of saved states.

mod other_types;

use super::super::testing::table;
use super::*;
use crate::data::schema::{Type, schema_of};
use arrow::array::{ListArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

#[test]
fn changes_name_live_keys_with_states_and_released_ones_without() {
    let mut groups = Groups::default();
    groups.track();
    let mut found = Vec::new();
    groups.intern(&Keys::new(StringArray::from(vec!["a", "b", "c"])), None, &mut found);
    groups.release(&[1]);
    let state = |groups: &mut Groups| {
        let states = |_: &Groups, live: &[u32]| Ok(live.iter().map(|group| Some(group.to_le_bytes())).collect());
        changes(groups, states).unwrap()
    };
    let Changes { keys, values, .. } = state(&mut groups).unwrap();
    assert_eq!(keys.values(), &StringArray::from(vec!["a", "c", "b"]));
    assert_eq!(values.iter().map(|value| value.is_some()).collect::<Vec<_>>(), [true, true, false]);
    assert!(state(&mut groups).is_none());
    groups.restore(&Keys::new(StringArray::from(vec!["d"])));
    assert!(state(&mut groups).is_none(), "what is restored has not changed");
    groups.touch(&[2]);
    groups.clear();
    let Changes { keys, values, .. } = state(&mut groups).unwrap();
    assert_eq!((keys.values().len(), values.null_count()), (3, 3));
}

#[test]
fn the_others_come_along_if_most_changed() {
    let names: Vec<String> = (0..1000).map(|name| name.to_string()).collect();
    let keys = |some: &[String]| Keys::new(StringArray::from_iter_values(some));
    let mut groups = Groups::default();
    groups.restore(&keys(&names));
    groups.track();
    let take = |groups: &mut Groups| {
        let states = |_: &Groups, of: &[u32]| Ok(of.iter().map(|group| Some(group.to_le_bytes())).collect());
        changes(groups, states).unwrap().unwrap()
    };
    for (changed, released, handed_in) in
        [(499, 0, 499), (500, 0, 1000), (999, 0, 1000), (449, 101, 550), (450, 0, 899)]
    {
        groups.intern(&keys(&names[..changed]), None, &mut Vec::new());
        let released: Vec<u32> = (0..1000).rev().take(released).collect();
        groups.release(&released);
        let Changes { keys, values, whole } = take(&mut groups);
        assert_eq!((keys.values().len(), whole.is_empty()), (handed_in, handed_in == changed + released.len()));
        for (key, value) in keys.values().iter().zip(&values) {
            let group = groups.find(key.unwrap());
            assert_eq!(value, group.map(u32::to_le_bytes).as_ref().map(|bytes| &bytes[..]), "{key:?}");
        }
    }
}

#[test]
fn the_others_stay_behind_if_all_are_too_large() {
    let mut groups = Groups::default();
    groups.track();
    let names: Vec<String> = (0..200).map(|name| name.to_string()).collect();
    groups.restore(&Keys::new(StringArray::from_iter_values(&names)));
    groups.touch(&(0..100).collect::<Vec<_>>());
    let size = MOST_WHOLE / FEW;
    let large = |_: &Groups, of: &[u32]| {
        Ok(of.iter().map(|group| Some(vec![0; if *group < 100 { 1 } else { size }])).collect())
    };
    let some = changes(&mut groups, large).unwrap().unwrap();
    assert_eq!((some.keys.values().len(), some.whole), (100, 0..0));
}

/// Two rows and one of nulls, a column of each type, and the bytes of each.
fn columns() -> Vec<(ArrayRef, Field, [&'static str; 3])> {
    let of = |ty: &str, cells: [&str; 3], bytes: [&'static str; 3]| {
        let rows = table(&format!("v: {ty}"), &cells);
        (rows.column(0).clone(), rows.schema().field(0).clone(), bytes)
    };
    let bools = of("bool", ["true", "false", ""], ["0101", "0100", "0000"]);
    let texts = of(
        "string",
        ["a", "a text that is longer than any of Arrow's short blocks", ""],
        [
            "02610000000000000001",
            "026120746578742074ff686174206973206cff6f6e676572207468ff616e20616e79206fff66204172726f7727732073686f727420626c6f636b730000000000000000000016",
            "00",
        ],
    );
    let numbers = of("int64", ["1", "-2", ""], ["018000000000000001", "017ffffffffffffffe", "000000000000000000"]);
    let nulls = Some(NullBuffer::from(vec![true, true, false]));
    let list_ty: Type = "list<int64>".parse().unwrap();
    let list_field = list_ty.field("v");
    let DataType::List(item) = list_field.data_type() else { panic!("it is a list") };
    let list = ListArray::new(item.clone(), OffsetBuffer::from_lengths([2, 0, 1]), numbers.0.clone(), nulls.clone());
    let struct_field = schema_of(&[(
        "v".to_owned(),
        Type::Struct(vec![("b".to_owned(), Type::Bool), ("s".to_owned(), Type::String)]),
    )]);
    let DataType::Struct(members) = struct_field.field(0).data_type() else { panic!("it is a struct") };
    let members = StructArray::new(members.clone(), vec![bools.0.clone(), texts.0.clone()], nulls);
    vec![
        bools,
        of("int32", ["1", "-2", ""], ["0180000001", "017ffffffe", "0000000000"]),
        numbers,
        of("uint32", ["1", "4294967295", ""], ["0100000001", "01ffffffff", "0000000000"]),
        of(
            "uint64",
            ["1", "18446744073709551615", ""],
            ["010000000000000001", "01ffffffffffffffff", "000000000000000000"],
        ),
        of("float32", ["1.5", "-0.0", ""], ["01bfc00000", "017fffffff", "0000000000"]),
        of("float64", ["1.5", "-0.0", ""], ["01bff8000000000000", "017fffffffffffffff", "000000000000000000"]),
        texts,
        of("binary", ["ff00", "", ""], ["02666630300000000004", "00", "00"]),
        of(
            "timestamp",
            ["1970-01-01T00:00:01Z", "1969-12-31T23:59:59Z", ""],
            ["0180000000000f4240", "017ffffffffff0bdc0", "000000000000000000"],
        ),
        of("date", ["1970-01-02", "1969-12-31", ""], ["0180000001", "017fffffff", "0000000000"]),
        of("json", ["[1]", "null", ""], ["025b315d000000000003", "026e756c6c0000000004", "00"]),
        (
            Arc::new(list),
            list_field,
            ["020180000000000000ff01000000000000000102017ffffffffffffffffe000000000000000101", "01", "00"],
        ),
        (
            Arc::new(members),
            struct_field.field(0).clone(),
            [
                "01010102610000000000000001",
                "010100026120746578742074ff686174206973206cff6f6e676572207468ff616e20616e79206fff66204172726f7727732073686f727420626c6f636b730000000000000000000016",
                "00000000",
            ],
        ),
    ]
}

#[test]
fn rows_are_encoded_as_they_were_by_earlier_versions() {
    for (column, field, wanted) in columns() {
        let schema = Arc::new(Schema::new(vec![field]));
        let rows = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        let codec = RowCodec::new(&schema).unwrap();
        let encoded = codec.encode(&rows).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found: Vec<String> = encoded.iter().map(hex).collect();
        assert_eq!(found, wanted, "{}", rows.column(0).data_type());
        assert_eq!(codec.decode(encoded.iter()).unwrap(), rows);
    }
}

#[test]
fn what_stands_behind_states_is_parted_from_them() {
    let states = BinaryArray::from_iter_values([&b"a"[..], b"", b"bc"]);
    let tails = [&b"12"[..], b"34", b"56"];
    let saved = with_tails(&states, |at, state| state.extend_from_slice(tails[at])).unwrap();
    assert_eq!(saved, BinaryArray::from_iter_values([&b"a12"[..], b"34", b"bc56"]));
    assert_eq!(without_tails(&saved, 2).unwrap(), (states, tails.to_vec()));
    assert!(without_tails(&saved, 3).is_err(), "one is too short");
}

#[test]
fn a_state_that_is_cut_short_or_too_long_is_not_read() {
    let mut state = Vec::new();
    put_time(&mut state, Some(Instant(7)));
    put_time(&mut state, None);
    put_bytes(&mut state, b"ab");
    let read = |state: &[u8]| {
        let mut reader = Reader(state);
        let read = (reader.time()?, reader.time()?, reader.bytes()?.to_vec());
        reader.end().map(|()| read)
    };
    assert_eq!(read(&state).unwrap(), (Some(Instant(7)), None, b"ab".to_vec()));
    for cut in 0..state.len() {
        assert!(read(&state[..cut]).is_err(), "{cut}");
    }
    state.push(0);
    let error = read(&state).unwrap_err();
    assert_eq!(error.message, "a saved state cannot be read: something is left of it");
}
