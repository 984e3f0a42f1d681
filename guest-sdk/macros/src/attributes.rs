//! What several macros read from attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, ReturnType, Type};

/// Returns the path of the SDK's hidden module.
pub fn sdk() -> TokenStream {
    quote!(::wxhost_guest::__private)
}

/// Joins the lines of a doc comment.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
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
