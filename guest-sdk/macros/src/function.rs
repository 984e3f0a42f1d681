//! The attributes that make a plain function a step function: beside the function, a type of the same name stands for
//! it in `plugin!` and in tests.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericParam, Ident, ItemFn, Pat, PatType, Result, ReturnType, Type};

use crate::attributes::{doc, returns_result, sdk};
use crate::lifetimes;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Map,
    Filter,
    FilterMap,
    FlatMap,
    KeyOn,
}

pub fn expand(kind: Kind, arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let extends = extends(kind, arguments)?;
    check(&function)?;
    let (row, config) = row_and_config(&function, &parameters(&function)?, "row: Row")?;
    let sdk = sdk();
    let ItemFn { attrs, vis, sig, .. } = &function;
    let name = &sig.ident;
    let doc = doc(attrs);
    let kind_name = Ident::new(&format!("{kind:?}"), name.span());
    let parameter = row.name;
    let static_row = lifetimes::set(row.owned.to_token_stream(), "static");
    let batch_row = lifetimes::set(row.owned.to_token_stream(), "wxhost_batch");
    let borrow = row.is_borrowed.then(|| quote!(&));
    let config_type = config.as_ref().map_or_else(|| quote!(#sdk::NoConfig), ToTokens::to_token_stream);
    let config_argument = config.as_ref().map(|_| quote!(, config));
    let span = match &sig.output {
        ReturnType::Type(_, returned) => returned.span(),
        ReturnType::Default => name.span(),
    };
    let call = quote!(#name(#borrow row #config_argument));
    let result = if returns_result(&sig.output) {
        quote_spanned!(span=> #sdk::fallible(#call))
    } else {
        quote_spanned!(span=> ::core::result::Result::Ok(#call))
    };
    let run = Ident::new(
        match kind {
            Kind::Map => "map",
            Kind::Filter => "filter",
            Kind::FilterMap | Kind::FlatMap => "flat_map",
            Kind::KeyOn => "key_on",
        },
        name.span(),
    );
    let output = match kind {
        Kind::Map => quote_spanned!(span=> #sdk::map_output(|row: #static_row, config: &#config_type| #result)),
        Kind::FilterMap | Kind::FlatMap => {
            quote_spanned!(span=> #sdk::flat_map_output(|row: #static_row, config: &#config_type| #result))
        }
        Kind::Filter => quote!(#sdk::no_output()),
        Kind::KeyOn => quote!(#sdk::key_output()),
    };
    Ok(quote! {
        #function

        #[doc = "Stands for the function of the same name in `plugin!` and in tests."]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #name {}

        #[allow(unused_variables, clippy::all)]
        const _: () = {
            impl #sdk::RowFunction for #name {
                const KIND: #sdk::Kind = #sdk::Kind::#kind_name;
                const DOC: &'static str = #doc;
                const EXTENDS: bool = #extends;
                type Config = #config_type;

                fn plan(input: &#sdk::Schema) -> #sdk::Result<#sdk::RowPlan> {
                    #sdk::RowPlan::of::<#static_row>(input, #parameter)
                }

                fn output() -> #sdk::Schema {
                    #output
                }

                fn apply<'wxhost_batch>(
                    plan: &#sdk::RowPlan,
                    config: &#config_type,
                    batch: &'wxhost_batch #sdk::Batch,
                ) -> #sdk::Result<#sdk::Applied> {
                    #sdk::#run(plan, batch, |row: #batch_row| #result)
                }
            }
        };
    })
}

fn extends(kind: Kind, arguments: TokenStream) -> Result<bool> {
    if arguments.is_empty() {
        return Ok(false);
    }
    let may_extend = matches!(kind, Kind::Map | Kind::FilterMap | Kind::FlatMap);
    match syn::parse2::<Ident>(arguments.clone()) {
        Ok(word) if word == "extend" && may_extend => Ok(true),
        _ if may_extend => Err(Error::new_spanned(arguments, "wanted `extend` or nothing")),
        _ => Err(Error::new_spanned(arguments, "takes no arguments")),
    }
}

/// Refuses functions that cannot be called a row at a time.
pub fn check(function: &ItemFn) -> Result<()> {
    let sig = &function.sig;
    if let Some(keyword) = &sig.asyncness {
        return Err(Error::new_spanned(keyword, "a step function is not async: calls are made one after the other"));
    }
    for parameter in &sig.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            return Err(Error::new_spanned(parameter, "a step function cannot be generic: its columns must be known"));
        }
    }
    Ok(())
}

/// The parameter that takes a row.
pub struct Row<'a> {
    pub name: String,
    /// The type without the reference in front, if that is no part of the column's type.
    pub owned: &'a Type,
    pub is_borrowed: bool,
}

/// Returns the parameters.
pub fn parameters(function: &ItemFn) -> Result<Vec<&PatType>> {
    let inputs = function.sig.inputs.iter().map(|input| match input {
        FnArg::Typed(parameter) => Ok(parameter),
        FnArg::Receiver(this) => Err(Error::new_spanned(this, "a step function has no `self`")),
    });
    inputs.collect()
}

/// Takes the last parameters for a row and, if the function is configured, for its configuration. `before` is what
/// messages write before the configuration.
pub fn row_and_config<'a>(
    function: &ItemFn,
    parameters: &[&'a PatType],
    before: &str,
) -> Result<(Row<'a>, Option<&'a Type>)> {
    let (row, config) = match parameters {
        [row] => (row, None),
        [row, config] => match &*config.ty {
            Type::Reference(reference) if reference.mutability.is_none() => (row, Some(&*reference.elem)),
            other => return Err(Error::new_spanned(other, "the last parameter is the configuration, `&Config`")),
        },
        _ => {
            let message = format!(
                "a step function takes a row and, if it is configured, its configuration: `fn f({before}, config: &Config)`"
            );
            return Err(Error::new_spanned(&function.sig, message));
        }
    };
    let name = match &*row.pat {
        Pat::Ident(pattern) => pattern.ident.to_string(),
        _ => "value".to_owned(),
    };
    let (owned, is_borrowed) = match &*row.ty {
        Type::Reference(reference) if !is_unsized(&reference.elem) => (&*reference.elem, true),
        other => (other, false),
    };
    Ok((Row { name, owned, is_borrowed }, config))
}

/// `&str` and `&[u8]` are values; a `&` before anything else borrows one.
fn is_unsized(target: &Type) -> bool {
    match target {
        Type::Slice(_) => true,
        Type::Path(path) => path.path.is_ident("str"),
        _ => false,
    }
}
