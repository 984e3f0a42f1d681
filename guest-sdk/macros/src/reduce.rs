//! `#[reduce]`: a function of two rows as a fold.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Error, FnArg, ItemFn, Result};

use crate::attributes::{self, doc, returns_result, sdk};

pub fn expand(arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let version = options(arguments)?;
    let inputs: Vec<_> = function.sig.inputs.iter().collect();
    let [FnArg::Typed(first), FnArg::Typed(_)] = inputs.as_slice() else {
        return Err(Error::new_spanned(
            &function.sig,
            "a reduction takes two rows: `fn f(first: Row, second: Row) -> Row`",
        ));
    };
    if let Some(parameter) = function.sig.generics.params.first() {
        return Err(Error::new_spanned(
            parameter,
            "a reduction cannot be generic: its row is kept, so it owns its values",
        ));
    }
    let sdk = sdk();
    let row = &first.ty;
    let ItemFn { attrs, vis, sig, .. } = &function;
    let name = &sig.ident;
    let doc = doc(attrs);
    // A failure leaves the row so far as it was, for which there must be a copy.
    let put_together = if returns_result(&sig.output) {
        quote! {
            ::core::option::Option::Some(kept) => {
                *kept = #sdk::fallible(#name(::core::clone::Clone::clone(kept), second))?;
            }
        }
    } else {
        quote! {
            ::core::option::Option::Some(_) => {
                *first = first.take().map(|kept| #name(kept, second));
            }
        }
    };
    Ok(quote! {
        #function

        #[doc = "Stands for the function of the same name in `plugin!` and in tests."]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #name {}

        #[allow(clippy::all)]
        const _: () = {
            impl #sdk::ReduceFunction for #name {
                type Row = #row;
                const DOC: &'static str = #doc;
                const VERSION: u32 = #version;

                fn reduce(first: &mut ::core::option::Option<#row>, second: #row) -> #sdk::Result<()> {
                    match first {
                        #put_together
                        ::core::option::Option::None => *first = ::core::option::Option::Some(second),
                    }
                    ::core::result::Result::Ok(())
                }
            }
        };
    })
}

fn options(arguments: TokenStream) -> Result<u32> {
    let mut version = 1;
    let parser = syn::meta::parser(|meta| {
        if !meta.path.is_ident("version") {
            return Err(meta.error("wanted `version = 2` or nothing"));
        }
        version = attributes::version(&meta)?;
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(version)
}
