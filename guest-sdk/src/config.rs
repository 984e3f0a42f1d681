//! What a flow gives a function as `config`.

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The configuration of a function, read from JSON.
///
/// `#[derive(Config)]` makes one of a struct with named fields: unknown keys are errors, `Option` fields and fields
/// with `#[serde(default)]` may be missing, doc comments become descriptions. Types that implement `Deserialize`
/// by other means need only `impl Config for T {}`.
pub trait Config: DeserializeOwned + 'static {
    /// Returns the JSON Schema for `wxhost plugin inspect`; empty for a function that takes no configuration.
    fn json_schema() -> String {
        "{}".into()
    }
}

impl Config for serde_json::Value {}

/// The configuration of a function that takes none.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Config for NoConfig {
    fn json_schema() -> String {
        String::new()
    }
}

/// Reads a configuration; none is the same as `{}`.
pub fn parse<C: Config>(text: &str) -> Result<C> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|error| Error::user(format!("config: {error}")))
}

/// Refuses a configuration, for a function that takes none.
pub fn parse_none(text: &str) -> Result<()> {
    parse::<NoConfig>(text).map(|NoConfig {}| ())
}

/// Writes the JSON Schema of an object: for each key its name, type, description, and whether it must be there.
pub fn object_schema(keys: &[(&str, &str, &str, bool)]) -> String {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for (name, json_type, description, is_required) in keys {
        let mut property = serde_json::Map::new();
        if !json_type.is_empty() {
            property.insert("type".into(), (*json_type).into());
        }
        if !description.is_empty() {
            property.insert("description".into(), (*description).into());
        }
        properties.insert((*name).into(), property.into());
        if *is_required {
            required.push(*name);
        }
    }
    let mut schema = serde_json::json!({
        "type": "object", "properties": properties, "additionalProperties": false
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema.to_string()
}
