//! What an aggregate is to those that run it.

use super::chosen::{self, First, Last, Max, Min};
use super::counts::Counts;
use super::totals::{self, Outcome};
use crate::data::schema::Type;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::NullBuffer;

/// A function over the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Function {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    First,
    Last,
}

/// One aggregate of many groups: an array of states, by group. A group that has had no row is empty.
pub(super) trait Accumulator {
    /// Makes room for `groups` groups; the new ones are empty.
    fn resize(&mut self, groups: usize);

    /// Takes row `index[i]` (or row `i`) of `rows` into `groups[i]`, in this order.
    ///
    /// # Errors
    /// Arrow cannot read the column.
    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError>;

    /// As `update`, of row `i` into `groups[i]`, and returns what the group comes to after each row. A result that its
    /// type cannot hold is null and among `refused`.
    ///
    /// # Errors
    /// As for `update`.
    fn running(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        refused: &mut Vec<RowError>,
    ) -> Result<ArrayRef, LogicError>;

    /// Takes `from[i]` into `into[i]`, in this order, as if its rows came after those that are there; `from[i]` is
    /// empty then.
    fn merge(&mut self, into: &[u32], from: &[u32]);

    /// What groups come to. A result that its type cannot hold is null and among `refused`, by its index in `groups`.
    ///
    /// # Errors
    /// Arrow cannot make the column.
    fn finish(&self, groups: &[u32], refused: &mut Vec<RowError>) -> Result<ArrayRef, LogicError>;

    /// Empties groups.
    fn reset(&mut self, groups: &[u32]);

    /// Writes the state of a group behind `bytes`.
    fn save(&self, group: u32, bytes: &mut Vec<u8>);

    /// Reads what `save` wrote off the front of `bytes`. None: it is something else.
    fn load(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()>;
}

impl Function {
    /// All of them, with the names that they have in a flow.
    pub const ALL: [(&'static str, Function); 7] = [
        ("count", Function::Count),
        ("sum", Function::Sum),
        ("min", Function::Min),
        ("max", Function::Max),
        ("mean", Function::Mean),
        ("first", Function::First),
        ("last", Function::Last),
    ];

    /// The type of the result for a column; none if the function does not take such columns.
    pub fn output(self, column: &Type) -> Option<Type> {
        match self {
            Function::Count => Some(Type::Int64),
            Function::Sum => totals::sum_of(column),
            Function::Mean => totals::sum_of(column).map(|_| Type::Float64),
            Function::Min | Function::Max => is_ordered(column).then(|| column.clone()),
            Function::First | Function::Last => chosen::holds(column).then(|| column.clone()),
        }
    }

    /// Whether the result is the same in whatever order rows come and are put together: float addition is not.
    pub fn is_exact(self, column: &Type) -> bool {
        !(matches!(self, Function::Sum | Function::Mean) && matches!(column, Type::Float32 | Type::Float64))
    }

    /// What columns the function takes, for messages.
    pub fn wanted(self) -> &'static str {
        match self {
            Function::Sum | Function::Mean => "a column of numbers",
            Function::Min | Function::Max => "a column of numbers, text, time or booleans",
            Function::Count | Function::First | Function::Last => "another column",
        }
    }

    /// Makes the empty states of an aggregate over a column, for which the function has an output; `name` is that of the
    /// result, for messages.
    ///
    /// # Errors
    /// Arrow cannot hold values of the type, which [`Function::output`] said it can.
    pub(super) fn accumulator(self, name: &str, column: usize, ty: &Type) -> Result<Box<dyn Accumulator>, LogicError> {
        Ok(match self {
            Function::Count => Box::new(Counts::of(Some(column))),
            Function::Sum => totals::of(Outcome::Sum, name, column, ty)?,
            Function::Mean => totals::of(Outcome::Mean, name, column, ty)?,
            Function::Min => chosen::of::<Min>(column, ty)?,
            Function::Max => chosen::of::<Max>(column, ty)?,
            Function::First => chosen::of::<First>(column, ty)?,
            Function::Last => chosen::of::<Last>(column, ty)?,
        })
    }
}

/// Whether there is a least and a greatest value of a type.
fn is_ordered(ty: &Type) -> bool {
    !matches!(ty, Type::Binary | Type::Json | Type::List(_) | Type::Struct(_) | Type::Other(_))
}

/// Calls `take` with the group and the row of each entry whose row is not null.
#[inline]
pub(super) fn each(
    groups: &[u32],
    index: Option<&[u32]>,
    nulls: Option<&NullBuffer>,
    mut take: impl FnMut(usize, usize),
) {
    let rows = (0..).zip(groups);
    // A loop for each, so that the common ones have nothing in them to decide.
    match (index, nulls.filter(|nulls| nulls.null_count() > 0)) {
        (None, None) => rows.for_each(|(row, &group)| take(group as usize, row)),
        (Some(index), None) => {
            groups.iter().zip(index).for_each(|(&group, &row)| take(group as usize, row as usize));
        }
        (None, Some(nulls)) => {
            rows.filter(|(row, _)| nulls.is_valid(*row)).for_each(|(row, &group)| take(group as usize, row));
        }
        (Some(index), Some(nulls)) => {
            let entries = groups.iter().zip(index).filter(|(_, row)| nulls.is_valid(**row as usize));
            entries.for_each(|(&group, &row)| take(group as usize, row as usize));
        }
    }
}

/// The number of a group or an entry in what is handed in.
pub(super) fn number(at: usize) -> u32 {
    u32::try_from(at).expect("a batch has fewer than 2^32 rows")
}
