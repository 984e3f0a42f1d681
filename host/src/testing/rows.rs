//! Rows as tests write them: JSON with the key first, typed by the schema of a stream.

use crate::catalog::operator::StreamType;
use crate::connectors::testing::Item;
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::{Type, describe, schema_of};
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::formats::json::{JsonDecoder, JsonEncoder};
use crate::formats::{Decoder as _, Encoder as _};
use crate::operators::{can_be_key, keys_of};
use crate::spec::{Node, Value};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use std::ops::Range;

/// The columns of a stream's rows as they are written: the key first under its name, unless a column has that name.
#[derive(Clone, Debug)]
pub(super) struct RowType {
    pub schema: SchemaRef,
    key: Option<KeyColumn>,
}

#[derive(Clone, Debug)]
struct KeyColumn {
    index: usize,
    ty: Type,
    /// Whether it is no column of the stream's rows.
    is_added: bool,
}

impl RowType {
    /// Finds that of a stream.
    pub fn of(ty: &StreamType) -> RowType {
        let Some(name) = &ty.key else { return RowType { schema: ty.schema.clone(), key: None } };
        if let Ok(index) = ty.schema.index_of(name) {
            let ty_of_key = Type::of(ty.schema.field(index));
            let key = KeyColumn { index, ty: ty_of_key, is_added: false };
            return RowType { schema: ty.schema.clone(), key: Some(key) };
        }
        let mut columns = vec![(name.to_string(), Type::String)];
        columns.extend(ty.schema.fields().iter().map(|field| (field.name().clone(), Type::of(field))));
        let key = KeyColumn { index: 0, ty: Type::String, is_added: true };
        RowType { schema: schema_of(&columns), key: Some(key) }
    }

    /// The name of the key.
    pub fn key_name(&self) -> Option<&str> {
        self.key.as_ref().map(|key| self.schema.field(key.index).name().as_str())
    }

    /// Whether rows as they are written can have keys.
    pub fn can_have_keys(&self) -> bool {
        self.key.as_ref().is_none_or(|key| can_be_key(&key.ty))
    }

    /// Makes the batch of a stream of rows as they are written.
    ///
    /// # Errors
    /// A key is null.
    pub fn batch(&self, mut rows: RecordBatch) -> Result<Batch, LogicError> {
        let Some(key) = &self.key else { return Ok(Batch::new(rows)) };
        let keys = keys_of(rows.column(key.index), &key.ty)?;
        if arrow::array::Array::null_count(&keys) > 0 {
            let name = self.schema.field(key.index).name();
            return Err(LogicError::user(format!("a row of the test has no key, the column {name:?}")));
        }
        if key.is_added {
            let others: Vec<usize> = (1..rows.num_columns()).collect();
            rows = rows.project(&others)?;
        }
        Ok(Batch::keyed(rows, Keys::new(keys)))
    }

    /// Writes rows of JSON in the one way in which they are compared.
    ///
    /// # Errors
    /// For each row that is not of this type its index, and why.
    pub fn canonical(&self, rows: &[String]) -> Result<Vec<String>, Vec<(usize, String)>> {
        let everywhere = |message: String| vec![(0, message)];
        let mut decoder = JsonDecoder::columns(&self.schema).map_err(|error| everywhere(error.to_string()))?;
        let decoded = decoder.decode(rows.join("\n").as_bytes()).map_err(|error| everywhere(error.to_string()))?;
        if !decoded.errors.is_empty() {
            let errors = decoded.errors.into_iter();
            return Err(errors.map(|error| (error.line as usize, error.message)).collect());
        }
        let mut bytes = Vec::new();
        let encoded = JsonEncoder::new(&self.schema, None).encode(&decoded.rows, None, &mut bytes);
        encoded.map_err(|error| everywhere(error.to_string()))?;
        Ok(lines(&bytes))
    }

    /// Reads rows that stand in a test, in the one way in which they are compared.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn read(&self, nodes: &[Node], what: &str) -> Result<Vec<String>, Diagnostics> {
        let mut problems = Diagnostics::new();
        let rows: Vec<String> = nodes.iter().map(|node| self.row(node, what, &mut problems).to_string()).collect();
        problems.into_result(())?;
        self.canonical(&rows).map_err(|errors| {
            let wrong = |(at, message): (usize, String)| self.wrong(what, &message, nodes[at].span.clone());
            errors.into_iter().map(wrong).collect()
        })
    }

    /// Checks the rows of a script that stands in a test; each item is that of a node.
    ///
    /// # Errors
    /// As for [`RowType::read`].
    pub fn check(&self, nodes: &[Node], items: &[Item], what: &str) -> Result<(), Diagnostics> {
        let is_row = |(_, item): &(&Node, &Item)| matches!(item, Item::Row(_));
        let rows: Vec<Node> = nodes.iter().zip(items).filter(is_row).map(|(node, _)| node.clone()).collect();
        self.read(&rows, what).map(drop)
    }

    fn row(&self, node: &Node, what: &str, problems: &mut Diagnostics) -> serde_json::Value {
        let Value::Table(table) = &node.value else {
            // A plain value stands for the column `value`.
            return serde_json::json!({ "value": node.to_json() });
        };
        let names = || self.schema.fields().iter().map(|field| field.name().as_str());
        for entry in table.iter().filter(|entry| !names().any(|name| name == entry.key)) {
            let message = format!("{what}: no column {:?}", entry.key);
            let help = suggest(&entry.key, names()).unwrap_or_else(|| format!("rows: {}", describe(&self.schema)));
            problems.push(Diagnostic::new("unknown-column", message).at(entry.key_span.clone()).help(help));
        }
        node.to_json()
    }

    fn wrong(&self, what: &str, message: &str, span: Range<usize>) -> Diagnostic {
        let help = format!("rows: {}", describe(&self.schema));
        Diagnostic::new("wrong-row", format!("{what}: {message}")).at(span).help(help)
    }
}

/// Cuts encoded rows into lines.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}
