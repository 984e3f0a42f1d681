use wxhost_guest::prelude::*;
#[derive(Row)] struct Event<'a> { event_timestamp: &'a str, n: Option<i64> }
#[derive(Row, Debug, PartialEq, Clone, State, Default)] struct Day { year: i32, month: u32, day: u32 }
#[derive(Config)] struct Limit { #[serde(default)] /** How many. */ top: u32 }
/// Adds the columns that partition the Parquet files.
#[map(extend)] fn add_date_columns(event: Event<'_>) -> Result<Day> { let t: Timestamp = event.event_timestamp.parse()?; Ok(Day { year: t.year(), month: t.month(), day: t.day()}) }
#[map] fn lower(line: &str) -> String { line.to_lowercase() }
#[map] fn same<'a>(e: Event<'a>) -> Event<'a> { e }
#[filter] fn keep(e: &Event<'_>, config: &Limit) -> bool { e.n > Some(config.top as i64) }
#[flat_map] fn tokenize(line: &str) -> impl Iterator<Item = &str> { line.split(' ') }
#[flat_map] fn tokenize2(line: &str) -> Result<impl Iterator<Item = &str>> { Ok(line.split(' ')) }
#[filter_map] fn some(r: Event<'_>) -> Result<Option<Day>, std::num::ParseIntError> { let year = r.event_timestamp.parse()?; Ok(Some(Day{year, month: 1, day: 1})) }
#[key_on] fn page(e: Event<'_>) -> &str { e.event_timestamp }
#[reduce] fn latest(a: Day, b: Day) -> Day { if b.year > a.year { b } else { a } }
/// The mean.
#[derive(Default, State)] struct Average { sum: f64, n: u64 }
impl Fold for Average { type In<'a> = f64; type Out = f64; fn fold(&mut self, v: f64) { self.sum += v; self.n += 1 } fn merge(&mut self, o: Self) { self.sum += o.sum; self.n += o.n } fn finish(&self) -> f64 { self.sum / self.n as f64 } }
plugin!(add_date_columns, lower, same, keep, tokenize, tokenize2, some, page, latest, Average, crate::Average as average);
#[test] fn works() {}
