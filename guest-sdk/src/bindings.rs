//! What wit-bindgen makes of `wit/`: the types of the contract, the host's imports and the macro that exports a plugin.

#![expect(missing_docs, reason = "generated; the WIT files have the documentation")]

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    export_macro_name: "export_plugin",
    default_bindings_module: "wxhost_guest::__private::bindings",
    runtime_path: "wxhost_guest::__private::wit_bindgen::rt",
    additional_derives: [PartialEq],
});
