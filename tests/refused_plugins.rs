//! Files that are no plugins, and what is told about those that are.

use crate::support::{plugins, temp_dir, wxhost};
use std::path::Path;

fn flow(plugin: &Path) -> String {
    format!(
        "flow = \"f\"\n[plugins.p]\npath = \"{}\"\n\n[[step]]\nname = \"in\"\nop = \"input\"\nsource = \"stdin\"\n\n\
         [[step]]\nname = \"map\"\nop = \"map\"\nfn = \"p.lower\"\n\n[[step]]\nname = \"out\"\nop = \"output\"\nsink = \"stdout\"\n",
        plugin.display()
    )
}

#[test]
fn what_is_no_plugin_is_refused_once_and_named() {
    let dir = temp_dir();
    let component = std::fs::read(plugins::folder().join("wordcount.wasm")).unwrap();
    let other_version = replace(&component, b"@0.1.0", b"@7.1.0");
    // The smallest core module: magic and version only.
    for (name, bytes, message) in [
        ("text.wasm", b"I am a text".to_vec(), "text.wasm"),
        ("empty.wasm", Vec::new(), "empty.wasm"),
        ("module.wasm", b"\0asm\x01\0\0\0".to_vec(), "module"),
        ("cut.wasm", component[..component.len() / 2].to_vec(), "component"),
        ("version.wasm", other_version, "7.1.0"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(dir.path().join("flow.toml"), flow(&path)).unwrap();
        for command in ["check", "run"] {
            let done = wxhost(command).arg("flow.toml").dir(dir.path()).run().expect(78);
            assert!(done.stderr.contains("error[plugin-refused]"), "{name}: {}", done.describe());
            assert!(done.stderr.contains(message), "{name}: {}", done.describe());
            assert!(done.stderr.contains("help: "), "{name}: {}", done.describe());
        }
        wxhost("plugin inspect").arg(&path).run().expect(78);
    }
    std::fs::write(dir.path().join("flow.toml"), flow(&dir.path().join("nothing.wasm"))).unwrap();
    let done = wxhost("check flow.toml").dir(dir.path()).run().expect(78);
    assert!(done.stderr.contains("there is no plugin at"), "{}", done.describe());
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn a_function_that_is_not_there_is_refused_with_those_that_are() {
    let dir = temp_dir();
    let text = flow(&plugins::folder().join("wordcount.wasm"));
    std::fs::write(dir.path().join("flow.toml"), text.replace("p.lower", "p.lowr")).unwrap();
    let done = wxhost("check flow.toml").dir(dir.path()).run().expect(78);
    assert!(done.stderr.contains("plugin \"p\" has no function \"lowr\""), "{}", done.describe());
    assert!(done.stderr.contains("did you mean \"lower\"? its functions: lower, tokenize"), "{}", done.describe());
    std::fs::write(dir.path().join("flow.toml"), text.replace("p.lower", "p.tokenize")).unwrap();
    let done = wxhost("check flow.toml").dir(dir.path()).run().expect(78);
    assert!(done.stderr.contains("function \"p.tokenize\" is a flat_map, wanted: map"), "{}", done.describe());
}

#[test]
fn a_plugin_is_listed_and_inspected() {
    let path = plugins::folder().join("wordcount.wasm");
    let list = wxhost("plugin list").arg(&path).run().expect(0).stdout;
    assert_eq!(
        list,
        "wordcount.lower     map       Makes a line lower case.\nwordcount.tokenize  flat_map  Splits a line into words.\n"
    );
    let text = wxhost("plugin inspect").arg(&path).run().expect(0).stdout;
    for part in ["digest   blake3:", "wxhost:plugin/functions@0.1.0", "function wordcount.tokenize (flat_map)"] {
        assert!(text.contains(part), "{text}");
    }
    let json = wxhost("plugin inspect --format json").arg(&path).run().expect(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["functions"][1]["name"], "tokenize");
    assert_eq!(json[0]["size"], std::fs::metadata(&path).unwrap().len());
}
