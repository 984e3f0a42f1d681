//! What saved states depend on, and what of it has changed.
//!
//! A fingerprint is stored beside the states as JSON text with sorted keys, for people to read and for the next
//! execution to compare with its own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Before the hash of a value that is not to be read in the store.
const HASHED: &str = "blake3:";

/// What the states of a step depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// The version of what the operator itself writes.
    pub version: u32,
    /// The arguments of the step that its states depend on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Value>,
    /// Those that may change; kept to tell that they did.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub free: BTreeMap<String, Value>,
    /// The rows that come to the step, of each upstream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// The function of a plugin that encodes states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<Function>,
}

/// The rows of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The name of the side, where sides have names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Names and types, in their order.
    pub columns: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A function that encodes states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub name: String,
    pub state_version: u32,
}

/// What is different between a fingerprint and an older one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// With these, states cannot be kept. Each says what changed, from what to what.
    pub breaking: Vec<String>,
    /// With these, they can.
    pub harmless: Vec<String>,
    /// The versions of a function's states, if it has become newer.
    pub migrates: Option<(u32, u32)>,
    /// The version of what the operator wrote, if it writes another now, and reads that one, too.
    pub rewrites: Option<u32>,
}

impl Fingerprint {
    /// Reads one that was stored.
    pub fn parse(bytes: &[u8]) -> Option<Fingerprint> {
        serde_json::from_slice(bytes).ok()
    }

    /// Writes it as it is stored: the same for equal ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        // By way of a value, whose keys are sorted.
        let value = serde_json::to_value(self).expect("keys are strings and numbers are finite");
        value.to_string().into_bytes()
    }

    /// Stands for a value that is too long to be stored, or is nobody's business.
    pub fn hashed(text: &str) -> Value {
        format!("{HASHED}{}", &blake3::hash(text.as_bytes()).to_hex()[..16]).into()
    }

    /// Says what has changed since an older one. `reads` are versions of what the operator writes that it reads besides
    /// its own.
    pub fn since(&self, old: &Fingerprint, reads: &[u32]) -> Differences {
        let mut found = Differences::default();
        if self.version != old.version {
            if reads.contains(&old.version) {
                found.rewrites = Some(old.version);
            } else {
                found.breaking.push("its states have another form in this version of wxhost".to_owned());
            }
        }
        arguments(&old.arguments, &self.arguments, &mut found.breaking);
        arguments(&old.free, &self.free, &mut found.harmless);
        if old.inputs.len() == self.inputs.len() {
            old.inputs.iter().zip(&self.inputs).for_each(|(old, new)| inputs(old, new, &mut found.breaking));
        } else {
            let message = format!("the number of its upstreams: {} -> {}", old.inputs.len(), self.inputs.len());
            found.breaking.push(message);
        }
        match (&old.function, &self.function) {
            (Some(old), Some(new)) if old.name != new.name => {
                found.breaking.push(format!("its function: {:?} -> {:?}", old.name, new.name));
            }
            (Some(old), Some(new)) if old.state_version > new.state_version => found.breaking.push(format!(
                "the state version of its function: {} -> {}, and no function reads states of a newer one",
                old.state_version, new.state_version
            )),
            (Some(old), Some(new)) if old.state_version < new.state_version => {
                found.migrates = Some((old.state_version, new.state_version));
            }
            (Some(old), None) => found.breaking.push(format!("its function {:?} is gone", old.name)),
            (None, Some(new)) => found.breaking.push(format!("its function {:?} is new", new.name)),
            _ => {}
        }
        found
    }
}

fn arguments(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>, into: &mut Vec<String>) {
    for (name, before) in old {
        match new.get(name) {
            Some(after) if after == before => {}
            Some(after) => match (readable(before), readable(after)) {
                (None, None) => into.push(format!("argument \"{name}\" has changed")),
                (before, after) => {
                    let text = |value: Option<String>| value.unwrap_or_else(|| "…".to_owned());
                    into.push(format!("argument \"{name}\": {} -> {}", text(before), text(after)));
                }
            },
            None => {
                let was = readable(before).map_or(String::new(), |before| format!(", and was {before}"));
                into.push(format!("argument \"{name}\" is gone{was}"));
            }
        }
    }
    for (name, after) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        let is = readable(after).map_or(String::new(), |after| format!(": {after}"));
        into.push(format!("argument \"{name}\" is new{is}"));
    }
}

/// The text of a value, but for one that was stored as a hash.
fn readable(value: &Value) -> Option<String> {
    let is_hashed = value.as_str().is_some_and(|text| text.starts_with(HASHED));
    (!is_hashed).then(|| value.to_string())
}

fn inputs(old: &Input, new: &Input, into: &mut Vec<String>) {
    let side = new.name.as_ref().map_or(String::new(), |name| format!(" of \"{name}\""));
    if old.name != new.name {
        let text = |name: &Option<String>| name.as_ref().map_or("none".to_owned(), |name| format!("{name:?}"));
        into.push(format!("the name of a side: {} -> {}", text(&old.name), text(&new.name)));
    }
    if old.key != new.key {
        let text = |key: &Option<String>| key.as_ref().map_or("none".to_owned(), |key| format!("{key:?}"));
        into.push(format!("the key of its rows{side}: {} -> {}", text(&old.key), text(&new.key)));
    }
    let before = into.len();
    for (name, ty) in &old.columns {
        match new.columns.iter().find(|(other, _)| other == name) {
            Some((_, other)) if other == ty => {}
            Some((_, other)) => into.push(format!("column \"{name}\" of its rows{side}: {ty} -> {other}")),
            None => into.push(format!("column \"{name}\" of its rows{side} is gone")),
        }
    }
    for (name, ty) in new.columns.iter().filter(|(name, _)| old.columns.iter().all(|(other, _)| other != name)) {
        into.push(format!("column \"{name}\" of its rows{side} is new: {ty}"));
    }
    if into.len() == before && old.columns != new.columns {
        into.push(format!("the order of the columns of its rows{side}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::json;

    fn print() -> Fingerprint {
        Fingerprint {
            version: 1,
            arguments: BTreeMap::from([
                ("by".to_owned(), json!({ "z": 1, "a": [true] })),
                ("config".to_owned(), Fingerprint::hashed("secret")),
            ]),
            free: BTreeMap::from([("ttl".to_owned(), json!("1h"))]),
            inputs: vec![Input {
                name: None,
                columns: vec![("user".to_owned(), "string".to_owned()), ("n".to_owned(), "int64".to_owned())],
                key: Some("user".to_owned()),
            }],
            function: Some(Function { name: "count".to_owned(), state_version: 2 }),
        }
    }

    #[test]
    fn a_fingerprint_is_text_with_sorted_keys_and_can_be_read_back() {
        let text = String::from_utf8(print().to_bytes()).unwrap();
        expect![[r#"{"arguments":{"by":{"a":[true],"z":1},"config":"blake3:5fbf08af2b116ab8"},"free":{"ttl":"1h"},"function":{"name":"count","state_version":2},"inputs":[{"columns":[["user","string"],["n","int64"]],"key":"user"}],"version":1}"#]]
            .assert_eq(&text);
        assert_eq!(Fingerprint::parse(text.as_bytes()), Some(print()));
        assert_eq!(Fingerprint::parse(&[1]), None);
    }

    #[test]
    fn every_change_is_named() {
        let check = |change: &dyn Fn(&mut Fingerprint), expect: &Expect| {
            let mut new = print();
            change(&mut new);
            let Differences { breaking, harmless, migrates, .. } = new.since(&print(), &[7]);
            let mut lines: Vec<String> = breaking.into_iter().map(|what| format!("breaks: {what}")).collect();
            lines.extend(harmless.into_iter().map(|what| format!("keeps: {what}")));
            lines.extend(migrates.map(|(from, to)| format!("migrates: {from} -> {to}")));
            expect.assert_eq(&lines.join("\n"));
        };
        check(&|_| {}, &expect![""]);
        check(&|new| new.version = 2, &expect!["breaks: its states have another form in this version of wxhost"]);
        let other = Fingerprint { version: 7, ..print() };
        let since = Fingerprint { version: 2, ..print() }.since(&other, &[7]);
        assert_eq!(since, Differences { rewrites: Some(7), ..Differences::default() });
        check(
            &|new| _ = new.arguments.insert("by".to_owned(), json!(5)),
            &expect![[r#"breaks: argument "by": {"a":[true],"z":1} -> 5"#]],
        );
        check(
            &|new| _ = new.arguments.insert("config".to_owned(), Fingerprint::hashed("other")),
            &expect![[r#"breaks: argument "config" has changed"#]],
        );
        check(
            &|new| _ = new.arguments.insert("config".to_owned(), json!({})),
            &expect![[r#"breaks: argument "config": … -> {}"#]],
        );
        check(
            &|new| {
                new.arguments = BTreeMap::from([("every".to_owned(), json!("1s"))]);
                new.free.clear();
            },
            &expect![[r#"
                breaks: argument "by" is gone, and was {"a":[true],"z":1}
                breaks: argument "config" is gone
                breaks: argument "every" is new: "1s"
                keeps: argument "ttl" is gone, and was "1h""#]],
        );
        check(
            &|new| {
                new.inputs[0].key = None;
                new.inputs[0].name = Some("left".to_owned());
                new.inputs[0].columns =
                    vec![("n".to_owned(), "string".to_owned()), ("m".to_owned(), "json".to_owned())];
            },
            &expect![[r#"
                breaks: the name of a side: none -> "left"
                breaks: the key of its rows of "left": "user" -> none
                breaks: column "user" of its rows of "left" is gone
                breaks: column "n" of its rows of "left": int64 -> string
                breaks: column "m" of its rows of "left" is new: json"#]],
        );
        check(&|new| new.inputs[0].columns.reverse(), &expect!["breaks: the order of the columns of its rows"]);
        check(&|new| new.inputs.clear(), &expect!["breaks: the number of its upstreams: 1 -> 0"]);
        check(
            &|new| new.function.as_mut().unwrap().name = "sum".to_owned(),
            &expect![[r#"breaks: its function: "count" -> "sum""#]],
        );
        check(&|new| new.function = None, &expect![[r#"breaks: its function "count" is gone"#]]);
        check(
            &|new| new.function.as_mut().unwrap().state_version = 1,
            &expect!["breaks: the state version of its function: 2 -> 1, and no function reads states of a newer one"],
        );
        check(
            &|new| {
                new.function.as_mut().unwrap().state_version = 4;
                _ = new.free.insert("ttl".to_owned(), json!("2h"));
            },
            &expect![[r#"
                keeps: argument "ttl": "1h" -> "2h"
                migrates: 2 -> 4"#]],
        );
    }
}
