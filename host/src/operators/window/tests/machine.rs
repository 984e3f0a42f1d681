//! The machine, by example.

use super::*;

const TUMBLING: Windower = Windower::Aligned { length: 10, every: 10, align_to: 0 };

#[test]
fn a_window_closes_when_the_watermark_reaches_its_end() {
    let mut bench = Bench::new(rules(TUMBLING, 0), 1);
    assert_eq!(bench.rows(0, &[("a", 3, "x"), ("a", 9, "y"), ("b", 5, "z")]).take(), Out::default());
    let out = bench.rows(0, &[("a", 10, "w")]).take();
    assert_eq!((out.down, out.meta), (vec!["a 0 xy 0..10".into()], vec!["a 0 0..10 []".into()]));
    let out = bench.eof().take();
    assert_eq!(out.down, ["a 1 w 10..20", "b 0 z 0..10"]);
}

#[test]
fn a_row_at_the_watermark_is_on_time_and_one_behind_it_is_late() {
    let mut bench = Bench::new(rules(TUMBLING, 2), 1);
    let out = bench.rows(0, &[("a", 7, "x"), ("a", 5, "y"), ("a", 4, "z"), ("b", 4, "w")]).eof().take();
    assert_eq!(out.late, ["a 0 z"]);
    assert_eq!(out.down, ["a 0 xy 0..10", "b 0 w 0..10"]);
}

#[test]
fn a_row_that_is_late_for_the_watermark_still_enters_the_windows_that_are_open_if_the_step_says_so() {
    let sliding = Windower::sliding(10, 5, 0);
    let late = Rules { late: Late::Window, ..rules(sliding, 0) };
    for ordered in [false, true] {
        let mut bench = Bench::new(Rules { ordered, ..late }, 1);
        // The watermark is 16: of the windows -1 to 2 those up to 1 end by 15.
        let out = bench.rows(0, &[("a", 8, "x"), ("a", 16, "y"), ("a", 12, "z"), ("a", 3, "w")]).eof().take();
        assert_eq!(out.late, ["a 1 z", "a -1 w", "a 0 w"], "{ordered}");
        assert_eq!(out.down, ["a 0 x 0..10", "a 1 x 5..15", "a 2 yz 10..20", "a 3 y 15..25"], "{ordered}");
    }
}

#[test]
fn windows_before_1970_have_negative_ids() {
    let out = Bench::new(rules(TUMBLING, 0), 1).rows(0, &[("a", -1, "x"), ("a", 0, "y")]).eof().take();
    assert_eq!(out.down, ["a -1 x -10..0", "a 0 y 0..10"]);
}

#[test]
fn ordered_rows_wait_and_enter_by_their_times() {
    for (ordered, wanted) in [(true, "abcd"), (false, "cadb")] {
        let mut bench = Bench::new(Rules { ordered, ..rules(TUMBLING, 5) }, 1);
        bench.rows(0, &[("k", 5, "c"), ("k", 1, "a")]).rows(0, &[("k", 6, "d"), ("k", 3, "b")]);
        assert_eq!(bench.eof().take().down, [format!("k 0 {wanted} 0..10")]);
    }
}

#[test]
fn windows_close_in_the_order_of_their_ends() {
    let mut bench = Bench::new(rules(TUMBLING, 20), 1);
    bench.rows(0, &[("a", 22, "x"), ("a", 3, "y"), ("a", 12, "z")]);
    let out = bench.rows(0, &[("a", 60, "w")]).take();
    assert_eq!(out.down, ["a 0 y 0..10", "a 1 z 10..20", "a 2 x 20..30"]);
}

#[test]
fn sessions_hold_rows_that_are_no_further_apart_than_the_gap() {
    let mut bench = Bench::new(rules(Windower::session(10), 0), 1);
    let out = bench.rows(0, &[("a", 0, "x"), ("a", 10, "y"), ("a", 21, "z"), ("b", 7, "w")]).take();
    // The first session ended at 10; at 20 it could still grow.
    assert_eq!(out.meta, ["a 0 0..10 []"]);
    let out = bench.eof().take();
    assert_eq!(out.down, ["a 1 z 21..21", "b 0 w 7..7"]);
}

#[test]
fn a_session_of_no_gap_holds_rows_of_one_time() {
    let mut bench = Bench::new(rules(Windower::session(0), 0), 1);
    let out = bench.rows(0, &[("a", 1, "x"), ("a", 1, "y"), ("a", 2, "z")]).eof().take();
    assert_eq!(out.down, ["a 0 xy 1..1", "a 1 z 2..2"]);
}

#[test]
fn sessions_that_meet_become_one_and_the_earlier_opening_survives() {
    let mut bench = Bench::new(rules(Windower::session(10), 100), 1);
    // 40 opened first, but 20 is the earlier.
    bench.rows(0, &[("a", 40, "x"), ("a", 20, "y"), ("a", 60, "z"), ("a", 30, "m"), ("a", 50, "n"), ("a", 55, "o")]);
    let out = bench.eof().take();
    assert_eq!(out.down, ["a 1 y(xm)n(z)o 20..60"]);
    assert_eq!(out.meta, ["a 1 20..60 [0, 2]"]);
}

#[test]
fn a_row_behind_the_watermark_joins_a_session_that_is_open_or_opens_one_that_is() {
    let late = Rules { late: Late::Window, ..rules(Windower::session(10), 0) };
    for ordered in [false, true] {
        let mut bench = Bench::new(Rules { ordered, ..late }, 1);
        let rows = [("a", 85, "x"), ("a", 100, "y"), ("a", 92, "z"), ("a", 84, "w"), ("a", 81, "v")];
        let out = bench.rows(0, &rows).eof().take();
        // The session at 85 has closed. 92 joins that at 100, and after it 84 and 81.
        assert_eq!(out.down, ["a 0 x 85..85", "a 1 yzwv 81..100"], "{ordered}");
        let mut bench = Bench::new(Rules { ordered, ..late }, 1);
        let out = bench.rows(0, &[("a", 100, "x"), ("a", 115, "y"), ("b", 115, "y"), ("b", 104, "z")]).eof().take();
        assert_eq!((out.down.len(), out.late), (3, vec!["b -1 z".to_owned()]), "{ordered}");
    }
}

#[test]
fn ids_of_sessions_are_not_used_again_even_by_keys_that_were_forgotten() {
    let mut bench = Bench::new(Rules { forget_after: 50_000_000, ..rules(Windower::session(10), 0) }, 1);
    bench.rows(0, &[("a", 0, "x"), ("a", 20, "y"), ("b", 0, "z")]);
    bench.idle(100).take();
    bench.rows(0, &[("b", 200, "x")]).idle(100);
    assert_eq!(bench.take().down, ["b 1 x 200..200"]);
    bench.busy(49_000_000).rows(0, &[("b", 300, "w")]).idle(100).take();
    bench.busy(2_000_000).rows(0, &[("a", 1, "unknown"), ("b", 1, "known")]).idle(100);
    let out = bench.take();
    assert_eq!((out.down, out.late), (vec!["a 2 unknown 1..1".into()], vec!["b -1 known".into()]));
}

#[test]
fn a_key_keeps_its_watermark_after_its_last_window_until_it_is_forgotten() {
    let mut bench = Bench::new(Rules { forget_after: 60_000_000, ..rules(TUMBLING, 0) }, 1);
    bench.rows(0, &[("a", 5, "x")]);
    assert_eq!(bench.idle(5).take().down, ["a 0 x 0..10"]);
    assert_eq!(bench.rows(0, &[("a", 7, "y")]).take().late, ["a 0 y"]);
    bench.busy(120_000_000);
    assert_eq!(bench.machine.keys(), 0);
    assert_eq!(bench.rows(0, &[("a", 7, "z")]).eof().take().down, ["a 0 z 0..10"]);
}

#[test]
fn watermarks_go_on_while_the_input_is_idle_and_only_then() {
    let mut bench = Bench::new(rules(TUMBLING, 3), 1);
    bench.rows(0, &[("a", 5, "x"), ("b", 1, "y")]);
    assert_eq!(bench.busy(1000).take(), Out::default());
    assert_eq!(bench.idle(7).take(), Out::default());
    assert_eq!(bench.busy(1000).idle(1).take().down, ["a 0 x 0..10"]);
    assert_eq!(bench.idle(3).take(), Out::default());
    assert_eq!(bench.idle(1).take().down, ["b 0 y 0..10"]);
}

#[test]
fn a_watermark_that_holds_does_not_go_on() {
    let clock = Clock::Event { wait: 0, advances: false };
    let mut bench = Bench::new(Rules { clock, ..rules(TUMBLING, 0) }, 1);
    assert_eq!(bench.rows(0, &[("a", 5, "x")]).idle(1000).take(), Out::default());
    assert_eq!(bench.eof().take().down, ["a 0 x 0..10"]);
}

#[test]
fn ordered_rows_are_released_by_idle_time_too() {
    let mut bench = Bench::new(Rules { ordered: true, ..rules(TUMBLING, 5) }, 1);
    bench.rows(0, &[("a", 4, "!"), ("a", 2, "!")]);
    assert_eq!(bench.idle(2).take(), Out::default());
    assert_eq!(bench.idle(1).take().down, ["a 0 ! 0..10"]);
    assert_eq!(bench.idle(2).take().down, ["a 0 !! 0..10"]);
}

#[test]
fn with_the_system_clock_rows_happen_as_they_come_and_windows_close_by_its_time() {
    let clock = Clock::System;
    let mut bench = Bench::new(Rules { clock, ordered: true, ..rules(TUMBLING, 0) }, 1);
    bench.busy(3).rows(0, &[("a", 0, "x"), ("a", 0, "y")]);
    bench.busy(4).rows(0, &[("b", 0, "z")]);
    assert_eq!(bench.busy(2).take(), Out::default());
    assert_eq!(bench.machine.wake_at(), Some(Instant(10)));
    assert_eq!(bench.busy(1).take().down, ["a 0 xy 0..10", "b 0 z 0..10"]);
    let mut bench = Bench::new(Rules { clock, ..rules(Windower::session(10), 0) }, 1);
    bench.rows(0, &[("a", 0, "x")]).busy(8);
    bench.rows(0, &[("a", 0, "y")]).busy(5);
    assert_eq!(bench.idle(5).take(), Out::default());
    assert_eq!(bench.idle(1).take().down, ["a 0 xy 0..8"]);
}

#[test]
fn early_results_are_of_windows_that_have_changed() {
    let every = Some(Duration::from_micros(100));
    let mut bench = Bench::new(Rules { early: every, ..rules(TUMBLING, 0) }, 1);
    bench.rows(0, &[("a", 1, "x"), ("b", 1, "y"), ("b", 2, ""), ("c", 1, "")]);
    assert_eq!(bench.busy(99).take().down.len(), 0);
    assert_eq!(bench.busy(1).take().down, ["a 0 x 0..10", "b 0 y 0..10"]);
    assert_eq!(bench.busy(500).take().down.len(), 0);
    bench.rows(0, &[("b", 3, "z"), ("a", 11, "w")]).take();
    assert_eq!(bench.busy(100).take().down, ["b 0 yz 0..10", "a 1 w 10..20"]);
    assert_eq!(bench.eof().take().down, ["a 1 w 10..20", "b 0 yz 0..10"]);
}

#[test]
fn rows_and_windows_that_fail_are_told_once() {
    let mut bench = Bench::new(rules(Windower::sliding(10, 5, 0), 0), 1);
    let out = bench.rows(0, &[("a", 7, ""), ("a", 7, "x"), ("b", 8, "e"), ("c", 9, "")]).eof().take();
    assert_eq!(out.down, ["a 0 x 0..10", "a 1 x 5..15"]);
    // The windows of c are not told of, for no row entered them.
    assert_eq!(out.meta, ["a 0 0..10 []", "a 1 5..15 []", "b 0 0..10 []", "b 1 5..15 []"]);
    let messages: Vec<_> = out.errors.iter().map(|row| row.split("message=").nth(1).unwrap()).collect();
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].starts_with("no text, ") && messages[1].contains("row={\"t\":"), "{messages:?}");
    assert!(messages[2].starts_with("key \"b\", window 0: an e, "), "{messages:?}");
    assert!(messages[3].ends_with("row={\"k\":\"b\",\"window_id\":1}"), "{messages:?}");
}

#[test]
fn the_times_of_a_session_that_is_open_are_not_told() {
    let mut bench = Bench::new(rules(Windower::session(10), 0), 1);
    assert_eq!(bench.rows(0, &[("a", 1, "x"), ("a", 2, "!")]).take().down, ["a 0 x! ?..?"]);
    assert_eq!(bench.eof().take().down, ["a 0 x! 1..2"]);
}

#[test]
fn rows_of_two_inputs_enter_by_their_times_and_late_ones_tell_their_side() {
    let mut bench = Bench::new(Rules { ordered: true, ..rules(TUMBLING, 5) }, 2);
    bench.rows(0, &[("k", 1, "a"), ("k", 5, "c"), ("k", 6, "d")]);
    bench.rows(1, &[("k", 3, "b"), ("k", 0, "z"), ("k", 8, "f"), ("k", 7, "e")]);
    let out = bench.eof().take();
    assert_eq!(out.down, ["k 0 aBcdEF 0..10"]);
    assert_eq!(out.late, ["k 0 Z"]);
}
