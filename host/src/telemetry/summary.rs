//! The table at the end of a run: what every step did.

use super::meter::StepFigures;
use super::units::{bytes, count, short, time};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// What a run did.
pub struct Summary<'a> {
    pub flow: &'a str,
    pub workers: usize,
    pub elapsed: Duration,
    /// In the order of the plan.
    pub steps: Vec<StepSummary<'a>>,
}

/// What a step did.
pub struct StepSummary<'a> {
    pub name: &'a str,
    pub op: &'a str,
    pub is_source: bool,
    pub is_sink: bool,
    pub figures: StepFigures,
}

impl Summary<'_> {
    /// Writes the summary for people.
    pub fn to_text(&self) -> String {
        let read: u64 = self.sources().map(|figures| figures.rows_out).sum();
        let moved: u64 = self.sources().map(|figures| figures.bytes).sum();
        let workers = if self.workers == 1 { "1 worker".to_owned() } else { format!("{} workers", self.workers) };
        let mut text = format!("flow \"{}\" done in {} with {workers}", self.flow, time(self.elapsed));
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, ": {} rows read", count(read));
        if let Some(rate) = self.per_second(read) {
            let _ = write!(text, ", {}/s", short(rate));
        }
        if let Some(rate) = self.per_second(moved).filter(|_| moved > 0) {
            let _ = write!(text, ", {} ({}/s)", bytes(moved as f64), bytes(rate));
        }
        text.push('\n');
        text.push_str(&self.table());
        for step in &self.steps {
            for (name, value) in &step.figures.counters {
                let _ = writeln!(text, "counter {name} of {}: {}", step.name, count(*value));
            }
        }
        text
    }

    /// Describes the summary for programs.
    pub fn to_json(&self) -> Value {
        let steps: Vec<Value> = self.steps.iter().map(|step| self.step_to_json(step)).collect();
        json!({
            "flow": self.flow,
            "workers": self.workers,
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "rows_read": self.sources().map(|figures| figures.rows_out).sum::<u64>(),
            "steps": steps,
        })
    }

    fn step_to_json(&self, step: &StepSummary<'_>) -> Value {
        let figures = &step.figures;
        let plugin = (figures.plugin_calls > 0).then(|| {
            json!({
                "calls": figures.plugin_calls,
                "seconds": figures.plugin_time.as_secs_f64(),
                "share": self.share(figures),
                "memory_bytes": figures.plugin_memory,
            })
        });
        json!({
            "step": step.name,
            "op": step.op,
            "rows_in": figures.rows_in,
            "rows_out": figures.rows_out,
            "errors": figures.errors,
            "late": figures.late,
            "bytes": figures.bytes,
            "files": figures.files,
            "plugin": plugin,
            "counters": figures.counters,
        })
    }

    fn sources(&self) -> impl Iterator<Item = &StepFigures> {
        self.steps.iter().filter(|step| step.is_source).map(|step| &step.figures)
    }

    fn per_second(&self, number: u64) -> Option<f64> {
        (!self.elapsed.is_zero()).then(|| number as f64 / self.elapsed.as_secs_f64())
    }

    /// The share of the workers' time that a step's plugin took. Sources and sinks have threads of their own.
    fn share(&self, figures: &StepFigures) -> f64 {
        let whole = self.elapsed.as_secs_f64() * self.workers as f64;
        if whole == 0.0 { 0.0 } else { figures.plugin_time.as_secs_f64() / whole }
    }

    fn table(&self) -> String {
        let mut columns: Vec<Column> = vec![
            Column::left("step", self.each(|step| step.name.to_owned())),
            Column::left("op", self.each(|step| step.op.to_owned())),
            Column::right("rows in", self.each(|step| count_unless(step.is_source, step.figures.rows_in))),
            Column::right("rows out", self.each(|step| count_unless(step.is_sink, step.figures.rows_out))),
            Column::right("errors", self.each(|step| count(step.figures.errors))),
        ];
        if self.steps.iter().any(|step| step.figures.late > 0) {
            let late =
                |step: &StepSummary<'_>| if step.figures.late > 0 { count(step.figures.late) } else { String::new() };
            columns.insert(4, Column::right("late", self.each(late)));
        }
        if self.steps.iter().any(|step| step.figures.plugin_calls > 0) {
            let plugin = |show: &dyn Fn(&StepFigures) -> String| {
                self.each(|step| if step.figures.plugin_calls > 0 { show(&step.figures) } else { String::new() })
            };
            columns.push(Column::right("calls", plugin(&|figures| count(figures.plugin_calls))));
            columns.push(Column::right("time", plugin(&|figures| time(figures.plugin_time))));
            columns.push(Column::right("share", plugin(&|figures| format!("{:.0} %", self.share(figures) * 100.0))));
            columns.push(Column::right("memory", plugin(&|figures| bytes(figures.plugin_memory as f64))));
        }
        if self.steps.iter().any(|step| step.figures.files > 0) {
            columns.push(Column::right("files", self.each(|step| count_unless(!step.is_sink, step.figures.files))));
        }
        if self.steps.iter().any(|step| step.figures.bytes > 0) {
            let moved = |step: &StepSummary<'_>| match step.figures.bytes {
                0 => String::new(),
                moved => bytes(moved as f64),
            };
            columns.push(Column::right("bytes", self.each(moved)));
        }
        rows(&columns)
    }

    fn each(&self, show: impl Fn(&StepSummary<'_>) -> String) -> Vec<String> {
        self.steps.iter().map(show).collect()
    }
}

fn count_unless(is_out_of_place: bool, number: u64) -> String {
    if is_out_of_place { String::new() } else { count(number) }
}

struct Column {
    head: &'static str,
    cells: Vec<String>,
    is_right: bool,
}

impl Column {
    fn left(head: &'static str, cells: Vec<String>) -> Column {
        Column { head, cells, is_right: false }
    }

    fn right(head: &'static str, cells: Vec<String>) -> Column {
        Column { head, cells, is_right: true }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(self.head.len())
    }
}

fn rows(columns: &[Column]) -> String {
    let count = columns.first().map_or(0, |column| column.cells.len());
    let mut text = String::new();
    for row in 0..=count {
        let mut line = String::new();
        for column in columns {
            let cell = if row == 0 { column.head } else { &column.cells[row - 1] };
            let width = column.width();
            let _ = if column.is_right { write!(line, "  {cell:>width$}") } else { write!(line, "  {cell:<width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn summary() -> Summary<'static> {
        let step = |name, op, rows_in, rows_out| StepSummary {
            name,
            op,
            is_source: op == "input",
            is_sink: op == "output",
            figures: StepFigures { rows_in, rows_out, ..StepFigures::default() },
        };
        Summary {
            flow: "events",
            workers: 2,
            elapsed: Duration::from_millis(2_500),
            steps: vec![
                step("in", "input", 1_000_001, 1_000_000),
                step("mask", "map", 1_000_000, 999_998),
                step("out", "output", 999_998, 0),
            ],
        }
    }

    #[test]
    fn a_flow_without_plugins_or_files_has_a_narrow_table() {
        expect![[r#"
            flow "events" done in 2.50 s with 2 workers: 1,000,000 rows read, 400 k/s
              step  op        rows in   rows out  errors
              in    input              1,000,000       0
              mask  map     1,000,000    999,998       0
              out   output    999,998                  0
        "#]]
        .assert_eq(&summary().to_text());
    }

    #[test]
    fn plugins_files_bytes_and_counters_have_columns_when_they_are_there() {
        let mut summary = summary();
        summary.steps[0].figures.bytes = 125_000_000;
        summary.steps[1].figures = StepFigures {
            errors: 2,
            plugin_calls: 123,
            plugin_time: Duration::from_millis(500),
            plugin_memory: 1_200_000,
            counters: [("masked".to_owned(), 12)].into(),
            ..summary.steps[1].figures.clone()
        };
        summary.steps[2].figures.files = 3;
        summary.steps[2].figures.bytes = 60_000_000;
        expect![[r#"
            flow "events" done in 2.50 s with 2 workers: 1,000,000 rows read, 400 k/s, 119 MiB (47.7 MiB/s)
              step  op        rows in   rows out  errors  calls    time  share    memory  files     bytes
              in    input              1,000,000       0                                          119 MiB
              mask  map     1,000,000    999,998       2    123  500 ms   10 %  1.14 MiB
              out   output    999,998                  0                                      3  57.2 MiB
            counter masked of mask: 12
        "#]]
        .assert_eq(&summary.to_text());
        assert_eq!(summary.to_json()["steps"][1]["plugin"]["share"], 0.1);
        assert_eq!(summary.to_json()["steps"][2]["plugin"], Value::Null);
    }
}
