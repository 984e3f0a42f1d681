//! The logic of `join_window`.

use super::super::super::testing::{show, table};
use super::super::super::window::{Given, WindowLogic};
use super::super::joiner::{EmitMode, Incomplete, Modes};
use super::super::sides::{Shape, Sides};
use super::super::state::Insert;
use super::super::window::JoinWindows;
use crate::data::batch::Batch;
use crate::data::time::Instant;

const NOW: Instant = Instant(0);

fn logic(insert: Insert, emit: EmitMode, incomplete: Incomplete) -> JoinWindows {
    let schema = table("value: int64", &[]).schema();
    let sides = ["x", "y"].map(|name| (name.to_owned(), schema.clone()));
    let sides = Sides::new("key".into(), sides, Shape::Sides);
    JoinWindows::new(Modes { insert, emit, incomplete }, sides.layout())
}

/// What a call gave, each row behind its slot.
fn rows(given: Given) -> Vec<String> {
    let Some((rows, slots)) = given.rows else { return Vec::new() };
    let rows = show(&Batch::new(rows));
    assert_eq!(rows.len(), slots.len());
    rows.iter().zip(slots).map(|(row, slot)| format!("{slot}: {row}")).collect()
}

/// Values of a side enter slots.
fn enter(logic: &mut JoinWindows, side: usize, values: &[(u32, &str)]) -> Vec<String> {
    let (slots, cells): (Vec<u32>, Vec<&str>) = values.iter().copied().unzip();
    // The logic is handed rows that do not count as well.
    let cells: Vec<&str> = std::iter::once("99").chain(cells).collect();
    let index: Vec<u32> = (1..).take(slots.len()).collect();
    rows(logic.on_rows(side, &slots, &table("value: int64", &cells), &index, NOW).unwrap())
}

#[test]
fn a_window_gives_its_rows_when_its_mode_says() {
    for (emit, as_they_come, on_close) in [
        (EmitMode::Final, [vec![], vec![]], vec!["2: x=2, y=4", "0: x=3, y=null"]),
        (EmitMode::Complete, [vec![], vec!["2: x=2, y=4"]], vec![]),
        (EmitMode::Running, [vec!["2: x=1, y=null", "0: x=3, y=null", "2: x=2, y=null"], vec!["2: x=2, y=4"]], vec![]),
    ] {
        let mut logic = logic(Insert::Last, emit, Incomplete::Null);
        assert_eq!(enter(&mut logic, 0, &[(2, "1"), (0, "3"), (2, "2")]), as_they_come[0], "{emit:?}");
        assert_eq!(enter(&mut logic, 1, &[(2, "4")]), as_they_come[1], "{emit:?}");
        assert_eq!(rows(logic.close(&[2, 0], NOW).unwrap()), on_close, "{emit:?}");
        // The slots are used again.
        assert_eq!(rows(logic.close(&[2, 0, 7], NOW).unwrap()), [""; 0], "{emit:?}");
    }
}

#[test]
fn windows_that_were_saved_go_on_in_other_slots() {
    let new = || logic(Insert::Product, EmitMode::Final, Incomplete::Null);
    let mut before = new();
    enter(&mut before, 0, &[(2, "1"), (0, "3"), (2, "2")]);
    enter(&mut before, 1, &[(2, "4")]);
    let saved = before.save(&[0, 2, 5]).unwrap();
    let mut after = new();
    after.load(&[4, 1, 0], &saved).unwrap();
    assert_eq!(enter(&mut after, 1, &[(4, "5")]), [""; 0]);
    assert_eq!(rows(after.close(&[1, 4, 0], NOW).unwrap()), ["1: x=1, y=4", "1: x=2, y=4", "4: x=3, y=5"]);
}

#[test]
fn a_window_can_be_complete_several_times() {
    let mut logic = logic(Insert::First, EmitMode::Complete, Incomplete::Null);
    assert_eq!(enter(&mut logic, 0, &[(0, "1"), (0, "2")]), [""; 0]);
    assert_eq!(enter(&mut logic, 1, &[(0, "3"), (0, "4")]), ["0: x=1, y=3"]);
    assert_eq!(enter(&mut logic, 0, &[(0, "5")]), ["0: x=5, y=4"]);
}

#[test]
fn sessions_that_merge_keep_the_rows_that_their_mode_says() {
    for (insert, wanted) in [
        (Insert::First, vec!["0: x=1, y=4"]),
        (Insert::Last, vec!["0: x=3, y=4"]),
        (Insert::Product, vec!["0: x=1, y=4", "0: x=2, y=4", "0: x=3, y=4"]),
    ] {
        let mut logic = logic(insert, EmitMode::Final, Incomplete::Null);
        let values =
            if insert == Insert::Product { vec![(0, "1"), (0, "2"), (1, "3")] } else { vec![(0, "1"), (1, "3")] };
        enter(&mut logic, 0, &values);
        enter(&mut logic, 1, &[(1, "4")]);
        assert_eq!(rows(logic.merge(&[0], &[1], NOW).unwrap()), [""; 0]);
        assert_eq!(rows(logic.early(&[0], NOW).unwrap()), wanted, "{insert:?}");
        assert_eq!(rows(logic.close(&[0, 1], NOW).unwrap()), wanted, "{insert:?}");
    }
}

#[test]
fn a_merger_counts_as_a_row_that_came() {
    for (emit, wanted) in [(EmitMode::Complete, ["0: x=1, y=2"]), (EmitMode::Running, ["0: x=1, y=2"])] {
        let mut logic = logic(Insert::Last, emit, Incomplete::Drop);
        assert_eq!(enter(&mut logic, 0, &[(0, "1")]), [""; 0]);
        assert_eq!(enter(&mut logic, 1, &[(1, "2")]), [""; 0]);
        assert_eq!(rows(logic.merge(&[0], &[1], NOW).unwrap()), wanted, "{emit:?}");
        assert_eq!(rows(logic.close(&[0], NOW).unwrap()), [""; 0], "{emit:?}");
    }
}

#[test]
fn much_that_comes_out_at_once_is_one_batch() {
    let mut logic = logic(Insert::Product, EmitMode::Final, Incomplete::Null);
    let values = vec![(0, "1"); 100];
    enter(&mut logic, 0, &values);
    enter(&mut logic, 1, &values);
    assert_eq!(rows(logic.close(&[0], NOW).unwrap()).len(), 10_000);
}
