//! Saved rows with columns of types that have no name in a flow, which Parquet files bring and native steps pass on. Those
//! that have a name are tested beside. So no step that keeps rows need be refused for their types.

use super::super::super::rows::Rows;
use super::super::*;
use crate::data::schema::{Type, normalise};
use arrow::array::*;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::*;
use std::sync::Arc;

/// Two values and a null, or what comes nearest, of each Arrow type that a batch can have once it is normalised.
fn columns() -> Vec<ArrayRef> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(20), None]));
    let small: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(20), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("bc"), None]));
    let of_numbers = |ty: DataType| cast(&numbers, &ty).unwrap();
    let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    let mut columns: Vec<ArrayRef> = units.into_iter().map(|unit| of_numbers(DataType::Duration(unit))).collect();
    columns.extend(units[..2].iter().map(|&unit| cast(&small, &DataType::Time32(unit)).unwrap()));
    columns.extend(units[2..].iter().map(|&unit| of_numbers(DataType::Time64(unit))));
    columns.extend([
        of_numbers(DataType::Decimal32(9, 2)),
        of_numbers(DataType::Decimal64(18, 2)),
        of_numbers(DataType::Decimal128(30, 2)),
        of_numbers(DataType::Decimal256(60, 2)),
        Arc::new(NullArray::new(3)),
        Arc::new(IntervalYearMonthArray::from(vec![Some(1), Some(-2), None])),
        Arc::new(IntervalDayTimeArray::from(vec![Some(IntervalDayTime::new(1, 2)), None])),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(1, 2, 3)), None])),
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some([1, 2]), None].into_iter(), 2).unwrap()),
    ]);
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let item = Arc::new(Field::new_list_field(DataType::Int64, true));
    let list = ListArray::new(item.clone(), offsets.clone(), numbers.clone(), None);
    columns.push(Arc::new(ListViewArray::from(list.clone())));
    columns.push(cast(&list, &DataType::LargeListView(item)).unwrap());
    let map_of = |keys: ArrayRef, values: ArrayRef| -> ArrayRef {
        let keys = keys.slice(0, 2);
        let values = values.slice(1, 2);
        let fields = Fields::from(vec![
            Field::new("keys", keys.data_type().clone(), false),
            Field::new("values", values.data_type().clone(), true),
        ]);
        let entries = StructArray::new(fields.clone(), vec![keys, values], None);
        let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
        let nulls = Some(vec![true, true, false].into());
        Arc::new(MapArray::new(field, OffsetBuffer::from_lengths([2, 0, 0]), entries, nulls, false))
    };
    let map = map_of(texts.clone(), numbers.clone());
    columns.push(map.clone());
    columns.push(map_of(texts.clone(), map_of(texts.clone(), numbers.clone())));
    columns.push(map_of(cast(&texts, &DataType::Utf8View).unwrap(), cast(&texts, &DataType::LargeUtf8).unwrap()));
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    columns.push(map_of(texts.clone(), cast(&texts, &dictionary).unwrap()));
    columns.push(map_of(cast(&texts, &dictionary).unwrap(), numbers.clone()));
    let map_field = Field::new_list_field(map.data_type().clone(), true);
    columns.push(Arc::new(ListArray::new(Arc::new(map_field), offsets, map, None)));
    let runs: RunArray<Int32Type> = RunArray::try_new(&Int32Array::from(vec![2, 3]), &texts.slice(0, 2)).unwrap();
    columns.push(Arc::new(runs));
    let members: UnionFields =
        [(0, Field::new("n", DataType::Int64, true)), (1, Field::new("t", DataType::Utf8, true))]
            .into_iter()
            .map(|(id, field)| (id, Arc::new(field)))
            .collect();
    let ids: ScalarBuffer<i8> = vec![0, 1, 1].into();
    columns.push(Arc::new(UnionArray::try_new(members, ids, None, vec![numbers, texts]).unwrap()));
    columns
}

#[test]
fn rows_with_columns_of_any_type_come_back_as_they_were_saved() {
    for column in columns() {
        let rows = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
        let rows = normalise(rows).unwrap();
        let ty = Type::of(rows.schema().field(0));
        assert!(!ty.is_guest_readable(), "{ty} has a name in flows");
        let failed = |error| -> RecordBatch { panic!("{ty}: {error}") };
        let (mut kept, mut restored) = (Rows::new(rows.schema()), Rows::new(rows.schema()));
        let held = kept.hold(rows.clone());
        let refs: Vec<_> = (0..3).take(rows.num_rows()).map(|row| kept.keep(held, row)).collect();
        assert_eq!(kept.gather(&refs).unwrap_or_else(failed), rows, "{ty}");
        let saved = kept.save(&refs).unwrap_or_else(|error| panic!("{ty}: {error}"));
        let refs = restored.load(&saved.iter().collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{ty}: {error}"));
        assert_eq!(restored.gather(&refs).unwrap_or_else(failed), rows, "{ty}");
    }
}
