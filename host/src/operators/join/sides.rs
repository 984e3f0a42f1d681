//! The sides of a join: what they are called, and how their rows stand beside each other.

use super::super::rows::{RowRef, Rows};
use crate::catalog::cx::CheckCx;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// How joined rows look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// A column for each side.
    #[default]
    Sides,
    /// The columns of all sides.
    Columns,
}

/// The sides of a step, checked.
pub(super) struct Sides {
    /// The name of the key, which is that of the first side.
    pub key: Arc<str>,
    /// In the order of the step's inputs.
    pub sides: Vec<Side>,
    shape: Shape,
}

/// A side of a join.
pub(super) struct Side {
    pub name: String,
    pub schema: SchemaRef,
    /// The columns that come out in joined rows.
    columns: Vec<usize>,
}

impl Sides {
    /// Checks the sides of a step. `has_names`: a port has a column for each side, by its name.
    ///
    /// # Errors
    /// One has no key, two have one name, or columns cannot stand beside each other or beside the key.
    pub fn check(cx: &CheckCx<'_>, shape: Shape, has_names: bool) -> Result<Sides, Diagnostics> {
        let mut problems = Diagnostics::new();
        for up in cx.ups.iter().filter(|up| up.ty.key.is_none()) {
            problems.extend(cx.unkeyed(up));
        }
        for (at, up) in cx.ups.iter().enumerate() {
            if cx.ups[..at].iter().any(|before| before.name == up.name) {
                let message = format!("{}: two sides are called \"{}\"", cx.what(), up.name);
                let help = "name them: from = { left = \"<step>\", right = \"<step>\" }";
                problems.push(Diagnostic::new("duplicate-side", message).at(up.span.clone()).help(help));
            }
        }
        let Some(key) = cx.ups.first().and_then(|up| up.ty.key.clone()).filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        if let Some(up) = cx.ups.iter().find(|up| has_names && *up.name == *key) {
            let message = format!("{}: a side is called \"{key}\", as the key of the joined rows is", cx.what());
            let help = "give it another name: from = { left = \"<step>\", right = \"<step>\" }";
            problems.push(Diagnostic::new("key-clash", message).at(up.span.clone()).help(help));
        }
        let sides = cx.ups.iter().map(|up| (up.name.clone(), up.ty.schema.clone()));
        let sides = Sides::new(key, sides, shape);
        if shape == Shape::Columns {
            clashes(cx, &sides, &mut problems);
        }
        problems.into_result(sides)
    }

    /// Sets sides beside each other, by their names and schemas.
    pub fn new(key: Arc<str>, sides: impl IntoIterator<Item = (String, SchemaRef)>, shape: Shape) -> Sides {
        let is_given = |name: &str| shape == Shape::Sides || *name != *key;
        let side = |(name, schema): (String, SchemaRef)| {
            let columns = (0..schema.fields().len()).filter(|&column| is_given(schema.field(column).name())).collect();
            Side { name, schema, columns }
        };
        let sides = sides.into_iter().map(side).collect();
        Sides { key, sides, shape }
    }

    /// The schemas of the sides.
    pub fn schemas(&self) -> Vec<SchemaRef> {
        self.sides.iter().map(|side| side.schema.clone()).collect()
    }

    /// The layout of joined rows, of which only the columns that come out are kept.
    pub fn layout(&self) -> Layout {
        let sides = self.sides.iter().map(|side| LayoutSide {
            keep: Some(side.columns.clone()).filter(|columns| columns.len() < side.schema.fields().len()),
            kept: schema_of(&columns_of(side)),
            given: (0..side.columns.len()).collect(),
        });
        Layout { sides: sides.collect(), shape: self.shape, schema: self.schema() }
    }

    /// The layout of joined rows that are kept whole.
    pub fn layout_of_whole_rows(&self) -> Layout {
        let sides = self.sides.iter().map(|side| LayoutSide {
            keep: None,
            kept: side.schema.clone(),
            given: side.columns.clone(),
        });
        Layout { sides: sides.collect(), shape: self.shape, schema: self.schema() }
    }

    /// The schema of joined rows.
    pub fn schema(&self) -> SchemaRef {
        let columns: Vec<(String, Type)> = match self.shape {
            Shape::Columns => self.sides.iter().flat_map(columns_of).collect(),
            Shape::Sides => self
                .sides
                .iter()
                .map(|side| match &*columns_of(side) {
                    [(_, only)] => (side.name.clone(), only.clone()),
                    columns => (side.name.clone(), Type::Struct(columns.to_vec())),
                })
                .collect(),
        };
        schema_of(&columns)
    }
}

fn columns_of(side: &Side) -> Vec<(String, Type)> {
    let fields = side.columns.iter().map(|&column| side.schema.field(column));
    fields.map(|field| (field.name().clone(), Type::of(field))).collect()
}

/// Says which columns of two sides have one name, and which have the name of the key without being it.
fn clashes(cx: &CheckCx<'_>, sides: &Sides, problems: &mut Diagnostics) {
    let Sides { key, sides, .. } = sides;
    for (at, (side, up)) in sides.iter().zip(&cx.ups).enumerate() {
        let own_key = up.ty.key.as_deref().unwrap_or_default();
        if *own_key != **key && side.schema.column_with_name(key).is_some() {
            let message = format!(
                "{}: \"{}\" is keyed by \"{own_key}\" and has another column \"{key}\", as the joined rows' key is called",
                cx.what(),
                side.name
            );
            let help = "rename the column with op = \"select\" before, or write as = \"sides\"";
            problems.push(Diagnostic::new("key-clash", message).at(up.span.clone()).help(help));
        }
        for (name, _) in columns_of(side) {
            let has_it = |side: &&Side| columns_of(side).iter().any(|(other, _)| *other == name);
            if let Some(other) = sides[..at].iter().find(has_it) {
                let message =
                    format!("{}: both \"{}\" and \"{}\" have a column \"{name}\"", cx.what(), other.name, side.name);
                let help = "rename one with op = \"select\" before, or write as = \"sides\"";
                problems.push(Diagnostic::new("column-clash", message).at(up.span.clone()).help(help));
            }
        }
    }
}

/// How joined rows are made of rows of the sides.
#[derive(Clone)]
pub(super) struct Layout {
    sides: Vec<LayoutSide>,
    shape: Shape,
    /// The schema of joined rows.
    pub schema: SchemaRef,
}

#[derive(Clone)]
struct LayoutSide {
    /// The columns that are kept. None: all.
    keep: Option<Vec<usize>>,
    /// The schema of those.
    kept: SchemaRef,
    /// Which of those come out.
    given: Vec<usize>,
}

impl Layout {
    /// The schemas of the rows that are kept, by side.
    pub fn kept_schemas(&self) -> Vec<SchemaRef> {
        self.sides.iter().map(|side| side.kept.clone()).collect()
    }

    /// What is kept of rows of a side.
    ///
    /// # Errors
    /// They are not of the side's schema.
    pub fn keep(&self, side: usize, rows: &RecordBatch) -> Result<RecordBatch, LogicError> {
        Ok(match &self.sides[side].keep {
            Some(columns) => rows.project(columns)?,
            None => rows.clone(),
        })
    }

    /// Sets rows of all sides beside each other: row `i` of the result has row `refs[side][i]` of each side, which
    /// `stores[side]` holds.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn joined(&self, stores: &[Rows], refs: &[impl AsRef<[Option<RowRef>]>]) -> Result<RecordBatch, LogicError> {
        let length = refs.first().map_or(0, |refs| refs.as_ref().len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for ((side, store), refs) in self.sides.iter().zip(stores).zip(refs) {
            let refs = refs.as_ref();
            let given = store.columns(&side.given, refs)?;
            if self.shape == Shape::Columns || given.len() == 1 {
                columns.extend(given);
            } else {
                let ty = self.schema.field(columns.len()).data_type();
                columns.push(Arc::new(structs(ty, given, refs)?));
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(length));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

/// Rows as structs of their columns; where there is no row they are null.
pub(super) fn structs(
    ty: &DataType,
    columns: Vec<ArrayRef>,
    refs: &[Option<RowRef>],
) -> Result<StructArray, LogicError> {
    let DataType::Struct(members) = ty else {
        return Err(LogicError::internal("a side of several columns is a struct"));
    };
    let nulls = NullBuffer::from_iter(refs.iter().map(Option::is_some));
    let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
    Ok(StructArray::try_new_with_length(members.clone(), columns, nulls, refs.len())?)
}
