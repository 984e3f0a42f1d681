//! How rows find their columns: by name, in the schema of a function's input and in nested structs.

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Schema, Values};
use crate::error::{Error, Result};
use crate::read::{Fault, Member, Mismatch, Place, Plan, Read, Validity, broken, column_at, plan_leaf};
use crate::schema::{field, list_columns};

/// How a function reads its rows: which columns cross the boundary and how they are bound.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    /// Indexes into the roots of the input schema.
    pub reads: Vec<u32>,
    pub(crate) plan: Plan,
    /// The column of a plain value, for messages.
    pub(crate) value_column: Option<String>,
}

impl RowPlan {
    /// Finds the columns of the row `T`, which the function takes as `parameter`.
    ///
    /// A struct's fields are found by name. A plain value takes the column with the parameter's name, or the only
    /// column there is.
    pub fn of<T: Read<'static>>(schema: &Schema, parameter: &str) -> Result<Self> {
        match T::members() {
            Some(members) => Self::of_members(schema, &members),
            None => Self::of_value::<T>(schema, parameter),
        }
    }

    fn of_members(schema: &Schema, members: &[Member]) -> Result<Self> {
        let mut reads = Vec::new();
        let mut plans = Vec::with_capacity(members.len());
        for member in members {
            let found = find(schema, &schema.roots, member.name).ok_or_else(|| missing(member));
            let root = found.map_err(|mismatch| mismatch.into_error(schema))?;
            let plan = (member.plan)(schema, schema.roots[root])
                .map_err(|mismatch| mismatch.within(member.name).into_error(schema))?;
            let root = root as u32;
            let position = reads.iter().position(|read| *read == root).unwrap_or_else(|| {
                reads.push(root);
                reads.len() - 1
            });
            plans.push((position, plan));
        }
        Ok(Self { reads, plan: Plan::Members(plans), value_column: None })
    }

    fn of_value<T: Read<'static>>(schema: &Schema, parameter: &str) -> Result<Self> {
        let parameter = parameter.trim_start_matches('_');
        let root = match (find(schema, &schema.roots, parameter), schema.roots.len()) {
            (Some(root), _) => root,
            (None, 1) => 0,
            (None, _) => {
                return Err(Error::user(format!(
                    "the parameter {parameter:?} is one value ({}), and no column has its name; name it like the \
                     column that it should read, or take a struct that derives Row; columns: {}",
                    T::wanted(),
                    list_columns(schema)
                )));
            }
        };
        let index = schema.roots[root];
        let name = field(schema, index).map_or_else(String::new, |field| field.name.clone());
        let plan = T::plan(schema, index).map_err(|mismatch| mismatch.within(&name).into_error(schema))?;
        Ok(Self { reads: vec![root as u32], plan, value_column: Some(name) })
    }

    /// Binds the columns of a batch.
    pub fn bind<'a, T: Read<'a>>(&self, batch: &'a Batch) -> Result<T::Column> {
        if batch.roots.len() != self.reads.len() {
            return Err(broken(format!("{} columns, not the {} asked for", batch.roots.len(), self.reads.len())));
        }
        let rows = batch.rows as usize;
        for root in &batch.roots {
            if column_at(batch, *root)?.rows as usize != rows {
                return Err(broken("columns of different lengths"));
            }
        }
        T::column(&self.plan, batch, Place::Roots)
    }

    /// Reads a row of bound columns.
    #[inline(always)]
    pub fn get<'a, T: Read<'a>>(&self, column: &T::Column, row: usize) -> Result<T> {
        T::get(column, row).map_err(|fault| self.error(fault))
    }

    /// Says which column it was.
    #[cold]
    #[inline(never)]
    pub(crate) fn error(&self, fault: Fault) -> Error {
        match &self.value_column {
            Some(name) => fault.within(name).into(),
            None => fault.into(),
        }
    }
}

fn find(schema: &Schema, indexes: &[u32], name: &str) -> Option<usize> {
    indexes.iter().position(|index| field(schema, *index).is_some_and(|field| field.name == name))
}

fn missing(member: &Member) -> Mismatch {
    Mismatch { path: member.name.to_owned(), wanted: (member.wanted)(), found: None }
}

/// Names a struct type by its members.
pub fn wanted_members(members: Option<Vec<Member>>) -> String {
    let members: Vec<_> =
        members.unwrap_or_default().iter().map(|member| format!("{}: {}", member.name, (member.wanted)())).collect();
    format!("struct<{}>", members.join(", "))
}

/// Finds the members of a nested struct.
pub fn plan_members(schema: &Schema, index: u32, members: Option<Vec<Member>>) -> Result<Plan, Mismatch> {
    let Some(DataType::Struct(children)) = field(schema, index).map(|field| &field.data_type) else {
        return plan_leaf(schema, index, &wanted_members(members), &[]);
    };
    let plan = |member: &Member| {
        let position = find(schema, children, member.name).ok_or_else(|| missing(member))?;
        let plan = (member.plan)(schema, children[position]).map_err(|mismatch| mismatch.within(member.name))?;
        Ok((position, plan))
    };
    members.unwrap_or_default().iter().map(plan).collect::<Result<_, _>>().map(Plan::Members)
}

/// The columns of a struct: its own nulls, and its fields as nested pairs.
pub struct Members<'a, F> {
    valid: Validity<'a>,
    /// `(first, (second, ()))`.
    pub fields: F,
}

impl<F> Members<'_, F> {
    /// Fails if the struct is null.
    #[inline(always)]
    pub fn check(&self, row: usize) -> Result<(), Fault> {
        self.valid.check(row)
    }
}

/// The places of a struct's fields in a batch.
pub struct MemberPlaces<'a> {
    valid: Validity<'a>,
    fields: std::vec::IntoIter<(Plan, Place)>,
}

impl<'a> MemberPlaces<'a> {
    /// Finds them.
    pub fn of(plan: &Plan, batch: &'a Batch, place: Place) -> Result<Self> {
        let Plan::Members(plans) = plan else {
            return Err(broken("a plan that is not of a struct"));
        };
        let (valid, children) = match place {
            Place::Roots => (Validity(None), &batch.roots),
            Place::Column(index) => match column_at(batch, index)? {
                Column { values: Values::Struct(children), validity, rows } => {
                    (Validity::of(validity.as_deref(), *rows)?, children)
                }
                _ => return Err(broken("no struct where the schema has one")),
            },
        };
        let fields = plans.iter().map(|(position, plan)| {
            let child = children.get(*position).ok_or_else(|| broken("a struct without one of its members"))?;
            Ok((plan.clone(), Place::Column(*child)))
        });
        Ok(Self { valid, fields: fields.collect::<Result<Vec<_>>>()?.into_iter() })
    }

    /// Binds the next field.
    pub fn bind_next<T: Read<'a>>(&mut self, batch: &'a Batch) -> Result<T::Column> {
        let (plan, place) = self.fields.next().ok_or_else(|| broken("a struct without one of its members"))?;
        T::column(&plan, batch, place)
    }

    /// Sets the bound fields beside the struct's own nulls.
    pub fn finish<F>(self, fields: F) -> Members<'a, F> {
        Members { valid: self.valid, fields }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wxhost::plugin::types::{Field, ListData, VarSize};

    fn schema(data_type: DataType) -> Schema {
        Schema { fields: vec![Field { name: "c".into(), data_type }], roots: vec![0] }
    }

    fn batch(rows: u32, validity: Option<Vec<u8>>, values: Values) -> Batch {
        Batch { rows, columns: vec![Column { rows, validity, values }], roots: vec![0] }
    }

    fn text(offsets: &[i32], data: &[u8]) -> Values {
        Values::VarSize(VarSize { offsets: offsets.to_vec(), data: data.to_vec() })
    }

    #[test]
    fn offsets_that_make_no_sense_fail_for_their_row_and_never_panic() {
        let plan = RowPlan::of::<&str>(&schema(DataType::String), "c").unwrap();
        let batch = batch(5, None, text(&[0, 1, 2, 1, -1, 99], "äb".as_bytes()));
        let column = plan.bind::<&str>(&batch).unwrap();
        for row in 0..5 {
            let error = plan.get::<&str>(&column, row).unwrap_err();
            assert_eq!(error.message(), "column \"c\" has text that is cut inside a character", "row {row}");
        }
    }

    #[test]
    fn batches_that_break_the_contract_are_refused_as_a_whole() {
        let text_plan = RowPlan::of::<&str>(&schema(DataType::String), "c").unwrap();
        let number_plan = RowPlan::of::<i64>(&schema(DataType::Int64), "c").unwrap();
        let of_text = |batch: &Batch| text_plan.bind::<&str>(batch).err().map(|error| error.message().to_owned());
        let of_number = |batch: &Batch| number_plan.bind::<i64>(batch).err().map(|error| error.message().to_owned());
        for (found, message) in [
            (of_text(&batch(1, None, text(&[0, 1], &[0xff]))), "the host sent text that is no UTF-8"),
            (
                of_text(&batch(2, None, text(&[0, 1], b"a"))),
                "the host sent a column of another type or length than the schema says",
            ),
            (
                of_number(&batch(2, None, Values::Int64(vec![1]))),
                "the host sent a column with another number of values than rows",
            ),
            (
                of_number(&batch(9, Some(vec![0xff]), Values::Int64(vec![1; 9]))),
                "the host sent a bitmap that is too short",
            ),
            (
                of_number(&Batch { rows: 1, columns: vec![], roots: vec![7] }),
                "the host sent a batch that names a column which it lacks",
            ),
        ] {
            assert_eq!(found.as_deref(), Some(message));
        }
    }

    #[test]
    fn lists_outside_of_their_items_fail_for_their_row() {
        let fields = vec![
            Field { name: "item".into(), data_type: DataType::Int64 },
            Field { name: "c".into(), data_type: DataType::List(0) },
        ];
        let plan = RowPlan::of::<Vec<i64>>(&Schema { fields, roots: vec![1] }, "c").unwrap();
        let items = Column { rows: 2, validity: None, values: Values::Int64(vec![1, 2]) };
        let lists = Values::List(ListData { offsets: vec![0, 2, 1, 9], child: 0 });
        let lists = Column { rows: 3, validity: None, values: lists };
        let batch = Batch { rows: 3, columns: vec![items, lists], roots: vec![1] };
        let column = plan.bind::<Vec<i64>>(&batch).unwrap();
        assert_eq!(plan.get::<Vec<i64>>(&column, 0), Ok(vec![1, 2]));
        assert!(plan.get::<Vec<i64>>(&column, 1).is_err());
        assert!(plan.get::<Vec<i64>>(&column, 2).is_err());
    }
}
