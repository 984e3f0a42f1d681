use super::FormatError;
use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::Schema;
pub struct JsonEncoder;
impl JsonEncoder {
    pub fn new(_: &Schema, _: Option<&str>) -> Result<Self, FormatError> {
        Ok(JsonEncoder)
    }
    pub fn encode(&mut self, _: &RecordBatch, _: Option<&StringArray>, _: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}
