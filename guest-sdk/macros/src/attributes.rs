//! What several macros read from attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, ExprLit, GenericArgument, Lit, LitInt, Meta, PathArguments, ReturnType, Type};

/// Returns the path of the SDK's hidden module.
pub fn sdk() -> TokenStream {
    quote!(::wxhost_guest::__private)
}

/// Joins the lines of a doc comment's first paragraph.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(match line.value() {
                line if line.trim().is_empty() => "\n".to_owned(),
                line => line,
            }),
            _ => None,
        },
        _ => None,
    });
    let lines = lines.flat_map(|line| line.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>());
    lines.skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Says whether a function returns a `Result`, under whatever path or alias that ends so.
pub fn returns_result(output: &ReturnType) -> bool {
    match output {
        ReturnType::Default => false,
        ReturnType::Type(_, returned) => is_named(returned, "Result"),
    }
}

/// Says whether the last segment of a type's path is `name`.
pub fn is_named(candidate: &Type, name: &str) -> bool {
    match candidate {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        Type::Group(group) => is_named(&group.elem, name),
        Type::Paren(paren) => is_named(&paren.elem, name),
        _ => false,
    }
}

/// Returns the first of a type's arguments: `T` of `Option<T>`.
pub fn first_argument(of: &Type) -> Option<&Type> {
    match of {
        Type::Path(path) => match &path.path.segments.last()?.arguments {
            PathArguments::AngleBracketed(arguments) => arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::Type(argument) => Some(argument),
                _ => None,
            }),
            _ => None,
        },
        Type::Group(group) => first_argument(&group.elem),
        Type::Paren(paren) => first_argument(&paren.elem),
        _ => None,
    }
}

/// Reads `version = 2` of an attribute's arguments.
pub fn version(meta: &ParseNestedMeta<'_>) -> syn::Result<u32> {
    let version = meta.value()?.parse::<LitInt>()?;
    match version.base10_parse()? {
        0 => Err(syn::Error::new(version.span(), "versions count from 1")),
        version => Ok(version),
    }
}
