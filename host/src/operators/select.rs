//! `select`: some of the columns, renamed and cast.

use super::cast;
use super::columns::{all_but, member};
use crate::catalog::cx::{CheckCx, column};
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::dead_letter::Kind;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::RowError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{Node, Spanned, Table, Value};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The operator `select`.
pub struct Select;

#[derive(serde::Deserialize)]
struct Args {
    columns: Option<Node>,
    drop: Option<Vec<Spanned<String>>>,
    rename: Option<Table>,
    cast: Option<Table>,
}

impl Operator for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn doc(&self) -> &'static str {
        r#"Chooses, renames and casts columns.

A member of a column of structs is chosen by its path: `page = "request.url"`. The key of a keyed stream stays, whatever
becomes of the column it was made from. A row with a value that cannot be cast is treated by `on_error`.

Casts go between numbers (a fraction is cut off; what does not fit fails), from text to numbers, `bool`, `timestamp`
and `date`, between `timestamp` and `date`, from `timestamp` to `int64` (microseconds), and from any scalar to
`string`. Other forms of text, such as JSON or instants in other spellings, are read by `parse`.

Arguments, which apply in this order:
- `columns`, the columns to keep, in the order wanted: a list of names, or a table `new = "old"`, in which
  `new = { column = "old", type = "int64" }` casts too, from `timestamp` also with `format = "unix_s"`, `"unix_ms"` or
  `"unix_us"` (seconds, milliseconds or microseconds since 1970, rounded down). Left out: all columns.
- `drop`, a list of columns to leave out.
- `rename`, a table `new = "old"`.
- `cast`, a table `column = "type"`, by the new names.

Ports: `down`.

```toml
[[step]]
name = "slim"
op = "select"
columns = ["user_id", "price"]
cast = { price = "float64" }
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        let chosen = Chooser { cx, problems: &mut problems }.choose(&args);
        let schema = schema_of(&chosen.iter().map(|c| (c.name.clone(), c.ty.clone())).collect::<Vec<_>>());
        let down = StreamType { schema: schema.clone(), key: cx.up().key.clone() };
        problems.into_result(Checked::new(SelectStep { columns: chosen.into(), schema }).down(down))
    }
}

/// A column of the output.
#[derive(Clone, Debug, PartialEq)]
struct Chosen {
    name: String,
    /// The index of the input's column, then of members of structs in it.
    path: Vec<usize>,
    found: Type,
    ty: Type,
    /// What an instant that is cast to a number is counted in, in microseconds.
    unit: i64,
}

struct Chooser<'a, 'c> {
    cx: &'a CheckCx<'c>,
    problems: &'a mut Diagnostics,
}

impl Chooser<'_, '_> {
    fn choose(&mut self, args: &Args) -> Vec<Chosen> {
        if args.columns.is_none() && args.drop.is_none() && args.rename.is_none() && args.cast.is_none() {
            let message = format!("{}: \"select\" without arguments changes nothing", self.cx.what());
            let help = "give it columns, drop, rename or cast";
            self.problems.push(Diagnostic::new("missing-key", message).at(self.cx.step.span.clone()).help(help));
        }
        let mut chosen = match &args.columns {
            Some(columns) => self.columns(columns),
            None => self.all(),
        };
        for name in args.drop.iter().flatten() {
            if let Some(at) = self.find(&chosen, name) {
                chosen.remove(at);
            }
        }
        self.rename(&mut chosen, args.rename.as_ref());
        for entry in args.cast.iter().flatten() {
            let name = Spanned::new(entry.key_span.clone(), entry.key.clone());
            if let (Some(at), Some(ty)) = (self.find(&chosen, &name), self.ty(&entry.node)) {
                self.cast(&mut chosen[at], ty, entry.node.span.clone());
            }
        }
        self.refuse_twins(&chosen, args.columns.as_ref().map(|node| node.span.clone()));
        chosen
    }

    fn all(&self) -> Vec<Chosen> {
        let fields = self.cx.up().schema.fields();
        let columns = fields.iter().enumerate().map(|(index, field)| {
            let ty = Type::of(field);
            Chosen { name: field.name().clone(), path: vec![index], found: ty.clone(), ty, unit: 1 }
        });
        columns.collect()
    }

    /// Reads the argument `columns`.
    fn columns(&mut self, node: &Node) -> Vec<Chosen> {
        match &node.value {
            Value::Array(nodes) => nodes
                .iter()
                .filter_map(|node| {
                    let text = self.text(node, "a column")?;
                    let name = text.rsplit('.').next().unwrap_or(&text).to_owned();
                    let path = self.path(&text)?;
                    // A column whose own name has dots keeps it.
                    let name = if path.0.len() == 1 { text.value } else { name };
                    Some(Chosen { name, path: path.0, found: path.1.clone(), ty: path.1, unit: 1 })
                })
                .collect(),
            Value::Table(table) => table.iter().filter_map(|entry| self.column(&entry.key, &entry.node)).collect(),
            other => {
                let message = format!(
                    "\"columns\" of {}: expected a list or a table, found {}",
                    self.cx.what(),
                    other.describe()
                );
                let help = "for example columns = [\"a\", \"b\"], or columns = { new = \"old\" }";
                self.problems.push(Diagnostic::new("wrong-type", message).at(node.span.clone()).help(help));
                Vec::new()
            }
        }
    }

    /// Reads `new = "old"` or `new = { column = "old", type = "int64" }`.
    fn column(&mut self, name: &str, node: &Node) -> Option<Chosen> {
        #[derive(serde::Deserialize)]
        struct Cast {
            column: Option<Spanned<String>>,
            r#type: Option<Node>,
            format: Option<Spanned<String>>,
        }
        let Value::Table(table) = &node.value else {
            let text = self.text(node, "a column, or { column = …, type = … }")?;
            let (path, ty) = self.path(&text)?;
            return Some(Chosen { name: name.to_owned(), path, found: ty.clone(), ty, unit: 1 });
        };
        let what = format!("column \"{name}\" of {}", self.cx.what());
        let cast: Cast = self.problems.take(crate::spec::read(table, node.span.clone(), &what))?;
        let old = cast.column.unwrap_or_else(|| Spanned::new(node.span.clone(), name.to_owned()));
        let (path, ty) = self.path(&old)?;
        let mut chosen = Chosen { name: name.to_owned(), path, found: ty.clone(), ty, unit: 1 };
        if let Some(node) = cast.r#type {
            let ty = self.ty(&node)?;
            self.cast(&mut chosen, ty, node.span);
        }
        if let Some(format) = cast.format {
            chosen.unit = self.unit(&chosen, &format)?;
        }
        Some(chosen)
    }

    /// Reads `format`, beside a cast from instants to numbers.
    fn unit(&mut self, chosen: &Chosen, format: &Spanned<String>) -> Option<i64> {
        let Chosen { name, found, ty, .. } = chosen;
        let wrong = |code, message: String, help| Diagnostic::new(code, message).at(format.span.clone()).help(help);
        let problem = match (found, ty, format.value.as_str()) {
            (Type::Timestamp, Type::Int64, "unix_s") => return Some(1_000_000),
            (Type::Timestamp, Type::Int64, "unix_ms") => return Some(1000),
            (Type::Timestamp, Type::Int64, "unix_us") => return Some(1),
            (Type::Timestamp, Type::Int64, other) => {
                let message = format!("{}: column \"{name}\" cannot be written as {other:?}", self.cx.what());
                wrong("wrong-format", message, "formats are unix_s, unix_ms and unix_us")
            }
            _ => {
                let message = format!(
                    "{}: column \"{name}\": \"format\" goes with a cast from timestamp to int64",
                    self.cx.what()
                );
                wrong("unused-key", message, "leave it out")
            }
        };
        self.problems.push(problem);
        None
    }

    fn rename(&mut self, chosen: &mut [Chosen], table: Option<&Table>) {
        let mut names: Vec<(usize, &str)> = Vec::new();
        for entry in table.into_iter().flatten() {
            let Some(old) = self.text(&entry.node, "a column") else { continue };
            names.extend(self.find(chosen, &old).map(|at| (at, entry.key.as_str())));
        }
        // All at once, so that two columns can exchange their names.
        for (at, name) in names {
            chosen[at].name = name.to_owned();
        }
    }

    fn cast(&mut self, chosen: &mut Chosen, ty: Type, span: Range<usize>) {
        if cast::is_possible(&chosen.found, &ty) {
            (chosen.ty, chosen.unit) = (ty, 1);
            return;
        }
        let Chosen { name, found, .. } = chosen;
        let message = format!("{}: column \"{name}\" is {found}, which cannot be cast to {ty}", self.cx.what());
        let help = match (found, ty) {
            (Type::Json, _) | (_, Type::Json) => "text is read as JSON by op = \"parse\", as = \"json\"",
            (_, Type::Timestamp) => "numbers are read as instants by op = \"parse\", with a format such as \"unix_s\"",
            _ => "leave the cast out, or make the value in a plugin",
        };
        self.problems.push(Diagnostic::new("no-cast", message).at(span).help(help));
    }

    /// Finds what `a` or `a.b` names among the columns of the input.
    fn path(&mut self, text: &Spanned<String>) -> Option<(Vec<usize>, Type)> {
        let schema = &self.cx.up().schema;
        let whole = column(schema, text, &self.cx.what());
        if let Ok((index, ty)) = whole {
            return Some((vec![index], ty));
        }
        let first = schema.column_with_name(text.split('.').next().unwrap_or_default());
        let mut found = first.map(|(index, field)| (vec![index], Type::of(field)));
        for name in text.split('.').skip(1) {
            found = found.and_then(|(mut path, ty)| {
                let Type::Struct(members) = ty else { return None };
                let at = members.iter().position(|(member, _)| member == name)?;
                path.push(at);
                Some((path, members[at].1.clone()))
            });
        }
        if found.is_none() || !text.contains('.') {
            self.problems.take(whole);
            return None;
        }
        found
    }

    /// Finds a column among those chosen so far.
    fn find(&mut self, chosen: &[Chosen], name: &Spanned<String>) -> Option<usize> {
        let at = chosen.iter().position(|column| column.name == name.value);
        if at.is_none() {
            let columns: Vec<_> = chosen.iter().map(|column| (column.name.clone(), column.ty.clone())).collect();
            self.problems.take(column(&schema_of(&columns), name, &self.cx.what()));
        }
        at
    }

    fn refuse_twins(&mut self, chosen: &[Chosen], span: Option<Range<usize>>) {
        let mut seen = BTreeMap::new();
        for column in chosen {
            let count = seen.entry(column.name.as_str()).or_insert(0);
            *count += 1;
            if *count == 2 {
                let message = format!("{}: two columns are called \"{}\"", self.cx.what(), column.name);
                let span = span.clone().unwrap_or_else(|| self.cx.step.span.clone());
                let help = "rename one of them, or drop it";
                self.problems.push(Diagnostic::new("duplicate-column", message).at(span).help(help));
            }
        }
    }

    fn text(&mut self, node: &Node, wanted: &str) -> Option<Spanned<String>> {
        if let Value::String(text) = &node.value {
            return Some(Spanned::new(node.span.clone(), text.clone()));
        }
        let message = format!("{}: expected {wanted}, found {}", self.cx.what(), node.value.describe());
        self.problems.push(Diagnostic::new("wrong-type", message).at(node.span.clone()));
        None
    }

    fn ty(&mut self, node: &Node) -> Option<Type> {
        let text = self.text(node, "a type")?;
        match text.parse() {
            Ok(ty) => Some(ty),
            Err(error) => {
                let error: crate::data::schema::ParseTypeError = error;
                let message = format!("{}: {error}", self.cx.what());
                self.problems.push(Diagnostic::new("wrong-type", message).at(node.span.clone()));
                None
            }
        }
    }
}

struct SelectStep {
    columns: Arc<[Chosen]>,
    schema: SchemaRef,
}

impl BuildStep for SelectStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(stateless(cx, ups, 1, Selector { columns: self.columns.clone(), schema: self.schema.clone() }))
    }
}

struct Selector {
    columns: Arc<[Chosen]>,
    schema: SchemaRef,
}

impl Stateless for Selector {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let casts = self.columns.iter().any(|column| column.found != column.ty);
        // Without a cast columns are only moved; rows that do not count need not be taken out for that.
        let batch = if casts { batch.compact()? } else { batch };
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut errors: BTreeMap<u32, RowError> = BTreeMap::new();
        for chosen in &*self.columns {
            let before = at(batch.rows(), &chosen.path)?;
            let after = cast::cast(&before, &chosen.found, &chosen.ty)?;
            for error in cast::refused(&chosen.name, &before, &after, &chosen.ty) {
                errors.entry(error.row).or_insert(error);
            }
            columns.push(match chosen.unit {
                1 => after,
                unit => {
                    Arc::new(after.as_primitive::<Int64Type>().unary::<_, Int64Type>(|micros| micros.div_euclid(unit)))
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.rows().num_rows()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let errors: Vec<RowError> = errors.into_values().collect();
        out.fail_as(Kind::Value, &batch, &errors)?;
        let batch = batch.with_rows(rows);
        if errors.is_empty() {
            out.give(0, batch);
        } else {
            let kept = all_but(batch.num_rows(), errors.iter().map(|error| error.row));
            out.give(0, batch.select(&kept));
        }
        Ok(())
    }
}

/// The column at a path; null where a struct on the way is.
fn at(rows: &RecordBatch, path: &[usize]) -> Result<ArrayRef, LogicError> {
    let mut column = rows.column(path[0]).clone();
    for &index in &path[1..] {
        column = member(column.as_struct(), index)?;
    }
    Ok(column)
}
