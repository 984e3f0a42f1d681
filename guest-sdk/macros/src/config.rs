//! `#[derive(Config)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, GenericArgument, PathArguments, Result, Type};

use crate::attributes::{doc, is_named, sdk};
use crate::state;

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new_spanned(parameter, "a configuration cannot be generic"));
    }
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => &named.named,
            _ => return Err(Error::new_spanned(&input.ident, "a configuration's fields have names: its keys")),
        },
        _ => return Err(Error::new_spanned(&input.ident, "a configuration is a struct: its fields are the keys")),
    };
    let sdk = sdk();
    let name = &input.ident;
    let all_default = has_default(&input.attrs);
    let keys = fields.iter().map(|field| {
        let key = renamed(&field.attrs).unwrap_or_else(|| {
            field.ident.as_ref().map(syn::ext::IdentExt::unraw).map_or_else(String::new, |i| i.to_string())
        });
        let is_option = is_named(&field.ty, "Option");
        let json_type = json_type(&field.ty);
        let description = doc(&field.attrs);
        let is_required = !all_default && !is_option && !has_default(&field.attrs);
        quote!((#key, #json_type, #description, #is_required))
    });
    let copy = state::copy(&input, &quote!(Deserialize), Some(quote!(, deny_unknown_fields)))?;
    Ok(quote! {
        const _: () = {
            #copy

            impl<'de> #sdk::serde::Deserialize<'de> for #name {
                fn deserialize<D: #sdk::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    Copied::deserialize(deserializer)
                }
            }

            impl #sdk::Config for #name {
                fn json_schema() -> ::std::string::String {
                    #sdk::object_schema(&[#(#keys),*])
                }
            }
        };
    })
}

fn has_default(attributes: &[syn::Attribute]) -> bool {
    serde_words(attributes).any(|(word, _)| word == "default")
}

fn renamed(attributes: &[syn::Attribute]) -> Option<String> {
    serde_words(attributes).find(|(word, _)| word == "rename").and_then(|(_, value)| value)
}

/// Returns the keys of `#[serde(...)]`, with the text that some are set to. What serde refuses, serde reports.
fn serde_words(attributes: &[syn::Attribute]) -> impl Iterator<Item = (String, Option<String>)> {
    let mut words = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        let _ = attribute.parse_nested_meta(|meta| {
            let word = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
            let value = match meta.value() {
                Ok(value) => Some(value.parse::<syn::LitStr>()?.value()),
                Err(_) => None,
            };
            words.push((word, value));
            Ok(())
        });
    }
    words.into_iter()
}

/// Returns the JSON type of the Rust types that have one of their own; empty for others.
fn json_type(rust_type: &Type) -> &'static str {
    let Type::Path(path) = rust_type else { return "" };
    let Some(segment) = path.path.segments.last() else { return "" };
    match segment.ident.to_string().as_str() {
        "bool" => "boolean",
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" | "isize" => "integer",
        "f32" | "f64" => "number",
        "String" | "Timestamp" | "Date" => "string",
        "Vec" => "array",
        "Option" => match &segment.arguments {
            PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(GenericArgument::Type(inner)) => json_type(inner),
                _ => "",
            },
            _ => "",
        },
        _ => "",
    }
}
