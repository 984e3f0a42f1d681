//! Says what a file is, and refuses what is no plugin of this host with what to do about it.

use crate::catalog::function::FunctionError;
use std::fmt;

/// The package of the contract.
const PACKAGE: &str = "wxhost:plugin";
/// The versions of the contract that this host speaks.
pub const SPOKEN: &str = "0.1.x";

const MAGIC: &[u8] = b"\0asm";
const CORE_MODULE: [u8; 4] = [1, 0, 0, 0];
/// Version 13 of the binary format, layer 1: what a component has until the component model is a standard.
const COMPONENT: [u8; 4] = [13, 0, 1, 0];

/// Checks that bytes could be a component, by their first few.
///
/// # Errors
/// They are something else; the message says what, the help what to do.
pub fn check_file(what: &str, bytes: &[u8]) -> Result<(), FunctionError> {
    let refused = |is: &str, help: &str| Err(refusal(format!("{what} is {is}"), help));
    const BUILD: &str = "build the plugin for wasm32-wasip2, or name its project directory instead of a file";
    if bytes.is_empty() {
        return refused("an empty file", BUILD);
    }
    if let Some(version) = bytes.strip_prefix(MAGIC) {
        return match version.first_chunk() {
            Some(&COMPONENT) => Ok(()),
            Some(&CORE_MODULE) => refused(
                "a core module, not a component",
                "build it for wasm32-wasip2, whose compilers and linkers make components \
                 (`cargo build --target wasm32-wasip2`)",
            ),
            _ => refused("WebAssembly of an unknown version", "build it with current tools"),
        };
    }
    if bytes.starts_with(b"\x7fELF") {
        return refused(
            "compiled machine code, which is never accepted from outside",
            "give the .wasm component that it was compiled from",
        );
    }
    let start = &bytes[..bytes.len().min(512)];
    let is_text = match std::str::from_utf8(start) {
        Ok(text) => !text.contains('\0'),
        // A character may be cut at the end of what is looked at.
        Err(error) => error.error_len().is_none() && !start.contains(&0),
    };
    if is_text && start.trim_ascii_start().starts_with(b"(") {
        return refused("WebAssembly in its text form", "translate it first (`wasm-tools parse`)");
    }
    if is_text { refused("a text file, not a WebAssembly component", BUILD) } else { refused("no WebAssembly", BUILD) }
}

/// The interfaces of the contract that a component can export beside `functions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interface {
    Transform,
    Fold,
    Stateful,
    Source,
    Sink,
}

impl Interface {
    pub(super) const ALL: [Interface; 5] =
        [Interface::Transform, Interface::Fold, Interface::Stateful, Interface::Source, Interface::Sink];
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interface::Transform => "transform",
            Interface::Fold => "fold",
            Interface::Stateful => "stateful",
            Interface::Source => "source",
            Interface::Sink => "sink",
        })
    }
}

/// Checks by the names of a component's imports and exports that it is a plugin that this host can serve, and returns
/// what it offers.
///
/// # Errors
/// It is made for another contract or another version of it, or wants what this host does not offer.
pub(super) fn check_world<'a>(
    what: &str,
    imports: impl Iterator<Item = &'a str>,
    exports: impl Iterator<Item = &'a str>,
) -> Result<Vec<Interface>, FunctionError> {
    let exports: Vec<&str> = exports.collect();
    let ours: Vec<Name<'_>> =
        exports.iter().map(|name| Name::of(name)).filter(|name| name.package == PACKAGE).collect();
    if let Some(other) = ours.iter().find(|name| !name.is_spoken()) {
        return Err(refusal(
            format!("{what} is made for version {} of the plugin contract; this host speaks {SPOKEN}", other.version),
            "build it with an SDK of that version, or take a wxhost of the plugin's version",
        ));
    }
    if !ours.iter().any(|name| name.interface == "functions") {
        let list = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        return Err(refusal(
            format!("{what} is a component, but no plugin: it does not export {PACKAGE}/functions, but {list}"),
            "write it with the guest SDK (`plugin!(...)`), or implement a world of wit/world.wit",
        ));
    }
    let unknown: Vec<&str> = imports.filter(|name| !is_offered(name)).collect();
    if !unknown.is_empty() {
        return Err(refusal(
            format!("{what} imports what this host does not offer: {}", unknown.join(", ")),
            format!(
                "a plugin may import {PACKAGE}/host and, of wasi 0.2, cli, clocks, filesystem, io, random and sockets; \
                 build it without the feature or library that needs the rest"
            ),
        ));
    }
    let offers = |interface: &Interface| ours.iter().any(|name| name.interface == interface.to_string());
    Ok(Interface::ALL.into_iter().filter(offers).collect())
}

fn is_offered(import: &str) -> bool {
    let name = Name::of(import);
    match name.package.split_once(':') {
        Some(("wasi", "cli" | "clocks" | "filesystem" | "io" | "random" | "sockets")) => {
            name.version.starts_with("0.2.")
        }
        _ => name.package == PACKAGE && matches!(name.interface, "host" | "types") && name.is_spoken(),
    }
}

/// The name of an interface: `package/interface@version`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Name<'a> {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, interface) = path.split_once('/').unwrap_or(("", path));
        Name { package, interface, version }
    }

    fn is_spoken(&self) -> bool {
        self.version.strip_prefix("0.1.").is_some_and(|patch| !patch.is_empty() && !patch.contains(['-', '+']))
    }
}

pub(super) fn refusal(message: impl Into<String>, help: impl Into<String>) -> FunctionError {
    FunctionError { message: message.into(), help: Some(help.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_component_is_refused_by_what_it_is() {
        for (bytes, is) in [
            (&b""[..], "an empty file"),
            (b"\0asm\x01\0\0\0", "a core module, not a component"),
            (b"\0asm\x01\0", "WebAssembly of an unknown version"),
            (b"\0asm\x07\0\0\0", "WebAssembly of an unknown version"),
            (b"\x7fELF\x02\x01", "compiled machine code, which is never accepted from outside"),
            (b"  (component)", "WebAssembly in its text form"),
            (b"flow = \"x\"\n", "a text file, not a WebAssembly component"),
            (b"PK\x03\x04\0\0", "no WebAssembly"),
            (b"\xff\xfe", "no WebAssembly"),
        ] {
            let error = check_file("x.wasm", bytes).unwrap_err();
            assert_eq!(error.message, format!("x.wasm is {is}"));
            assert!(error.help.is_some());
        }
        assert_eq!(check_file("x.wasm", b"\0asm\x0d\0\x01\0rest"), Ok(()));
    }

    #[test]
    fn a_component_of_another_world_is_refused_by_its_exports() {
        for (imports, exports, message) in [
            (
                &[][..],
                &["wasi:cli/run@0.2.3"][..],
                "it does not export wxhost:plugin/functions, but wasi:cli/run@0.2.3",
            ),
            (&[], &[], "it does not export wxhost:plugin/functions, but nothing"),
            (
                &[],
                &["wxhost:plugin/functions@0.2.0"],
                "made for version 0.2.0 of the plugin contract; this host speaks 0.1.x",
            ),
            (&[], &["wxhost:plugin/functions@0.1.0-rc"], "made for version 0.1.0-rc of"),
            (
                &["wasi:http/types@0.2.0", "wasi:io/poll@0.2.9", "env"],
                &["wxhost:plugin/functions@0.1.0"],
                "imports what this host does not offer: wasi:http/types@0.2.0, env",
            ),
            (&["wasi:io/poll@0.3.0"], &["wxhost:plugin/functions@0.1.0"], "not offer: wasi:io/poll@0.3.0"),
        ] {
            let error = check_world("p", imports.iter().copied(), exports.iter().copied()).unwrap_err();
            assert!(error.message.contains(message), "{}", error.message);
        }
    }

    #[test]
    fn a_plugin_says_what_it_offers_by_its_exports() {
        let imports = ["wxhost:plugin/host@0.1.0", "wxhost:plugin/types@0.1.3", "wasi:sockets/tcp@0.2.6"];
        let exports = ["wxhost:plugin/functions@0.1.2", "wxhost:plugin/sink@0.1.2", "wxhost:plugin/fold@0.1.2"];
        let offered = check_world("p", imports.into_iter(), exports.into_iter());
        assert_eq!(offered, Ok(vec![Interface::Fold, Interface::Sink]));
    }
}
