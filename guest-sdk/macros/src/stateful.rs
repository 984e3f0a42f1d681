//! `#[stateful_map]` and `#[stateful_flat_map]`: a function of a state and a row as a stateful function. Beside the
//! function, a type of the same name holds the state; it stands in `plugin!` and in tests.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Error, GenericArgument, ItemFn, Path, PathArguments, Result, ReturnType, Type, TypeImplTrait, TypeParamBound,
};

use crate::attributes::{self, doc, first_argument, is_named, returns_result, sdk};
use crate::function::{check, parameters, row_and_config};
use crate::lifetimes;

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Map,
    FlatMap,
}

pub fn expand(kind: Kind, arguments: TokenStream, function: ItemFn) -> Result<TokenStream> {
    let Options { version, migrate } = options(arguments)?;
    check(&function)?;
    let parameters = parameters(&function)?;
    let state = state(&function, parameters.first().map(|parameter| &*parameter.ty))?;
    let (row, config) = row_and_config(&function, &parameters[1..], "state: &mut Option<State>, row: Row")?;
    let sdk = sdk();
    let ItemFn { attrs, vis, sig, .. } = &function;
    let name = &sig.ident;
    let doc = doc(attrs);
    let parameter = row.name;
    let batch_row = lifetimes::set(row.owned.to_token_stream(), "wxhost_batch");
    let borrow = row.is_borrowed.then(|| quote!(&));
    let config_type = config.as_ref().map_or_else(|| quote!(#sdk::NoConfig), ToTokens::to_token_stream);
    let config_argument = config.as_ref().map(|_| quote!(, config));
    let can_be_kept = quote_spanned!(state.span()=> const _: () = #sdk::can_be_kept::<#state>(););
    let output = output(kind, &function)?;
    let span = match &sig.output {
        ReturnType::Type(_, returned) => returned.span(),
        ReturnType::Default => name.span(),
    };
    let call = quote!(#name(&mut self.state, #borrow row #config_argument));
    let call = match returns_result(&sig.output) {
        true => quote_spanned!(span=> #sdk::fallible(#call)),
        false => quote_spanned!(span=> #sdk::Result::<_>::Ok(#call)),
    };
    // The configuration is borrowed from where rows are emitted, and looking it up costs something.
    let (parts, push) = match config {
        Some(_) => (quote!(let (config, rows) = cx.parts::<#config_type>();), quote!(rows.push)),
        None => (quote!(), quote!(cx.emit)),
    };
    let emit = match kind {
        Kind::Map => quote!(#push(returned)),
        Kind::FlatMap => quote_spanned!(span=> returned.into_iter().for_each(|row| #push(row))),
    };
    let migrates = migrate.is_some();
    let migrate = match migrate {
        Some(path) => {
            quote!(#path(from_version, bytes).map(|state| Self { state: ::core::option::Option::Some(state) }))
        }
        None => quote!(#sdk::no_migration(from_version, #version)),
    };
    Ok(quote! {
        #function

        #[doc = "Stands for the function of the same name in `plugin!` and in tests."]
        #[allow(non_camel_case_types, dead_code)]
        #vis struct #name {
            state: ::core::option::Option<#state>,
        }

        #[allow(clippy::all)]
        const _: () = {
            #can_be_kept

            impl #sdk::State for #name {
                const VERSION: u32 = #version;
                const DOC: &'static str = #doc;
                const MIGRATES: bool = #migrates;
                type Config = #config_type;

                fn new(_: &Self::Config) -> Self {
                    Self { state: ::core::option::Option::None }
                }

                fn encode(&self, bytes: ::std::vec::Vec<u8>) -> #sdk::Result<::std::vec::Vec<u8>> {
                    #sdk::encode(#sdk::kept(&self.state)?, bytes)
                }

                fn decode(bytes: &[u8]) -> #sdk::Result<Self> {
                    #sdk::decode(bytes).map(|state| Self { state: ::core::option::Option::Some(state) })
                }

                #[allow(unused_variables)]
                fn migrate(from_version: u32, bytes: &[u8]) -> #sdk::Result<Self> {
                    #migrate
                }
            }

            impl #sdk::Stateful for #name {
                type In<'wxhost_batch> = #batch_row;
                type Out = #output;
                const PARAMETER: &'static str = #parameter;

                #[inline]
                fn on_item(&mut self, row: Self::In<'_>, cx: &mut #sdk::Emit<Self::Out>) -> #sdk::Result<()> {
                    let was_kept = self.state.is_some();
                    #parts
                    // Moves as a whole: what is returned may borrow the state.
                    let emitted = #call.map(|returned| #emit);
                    match emitted {
                        #sdk::Result::Ok(()) => {
                            if self.state.is_none() {
                                cx.discard();
                            }
                            #sdk::Result::Ok(())
                        }
                        #sdk::Result::Err(error) => {
                            #sdk::Result::Err(if was_kept { #sdk::still(&self.state, error) } else { error })
                        }
                    }
                }
            }
        };
    })
}

struct Options {
    version: u32,
    migrate: Option<Path>,
}

fn options(arguments: TokenStream) -> Result<Options> {
    let mut options = Options { version: 1, migrate: None };
    let parser = syn::meta::parser(|meta| {
        match () {
            () if meta.path.is_ident("version") => options.version = attributes::version(&meta)?,
            () if meta.path.is_ident("migrate") => options.migrate = Some(meta.value()?.parse()?),
            () => return Err(meta.error("wanted `version = 2`, `migrate = path` or nothing")),
        }
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(options)
}

/// Returns the type of the state: `S` of `&mut Option<S>`.
fn state<'a>(function: &ItemFn, first: Option<&'a Type>) -> Result<&'a Type> {
    const WANTED: &str = "the first parameter is the state: `state: &mut Option<State>`";
    match first {
        Some(Type::Reference(reference)) if reference.mutability.is_some() && is_named(&reference.elem, "Option") => {
            first_argument(&reference.elem).ok_or_else(|| Error::new_spanned(&reference.elem, WANTED))
        }
        Some(other) => Err(Error::new_spanned(other, WANTED)),
        None => Err(Error::new_spanned(&function.sig, WANTED)),
    }
}

/// Returns the type of the rows that come out.
fn output(kind: Kind, function: &ItemFn) -> Result<TokenStream> {
    let ReturnType::Type(_, returned) = &function.sig.output else {
        return Err(Error::new_spanned(
            &function.sig,
            "returns nothing, and the rows that come out are what it returns",
        ));
    };
    let returned = match returns_result(&function.sig.output) {
        true => first_argument(returned).ok_or_else(|| Error::new_spanned(returned, "write it as `Result<Row>`"))?,
        false => returned,
    };
    let item = match (kind, returned) {
        (Kind::Map, Type::ImplTrait(_)) => {
            return Err(Error::new_spanned(returned, "returns one row, whose type must be named"));
        }
        (Kind::Map, named) => named.to_token_stream(),
        (Kind::FlatMap, Type::ImplTrait(bounds)) => item(bounds)?.to_token_stream(),
        // Of the types that are written most, for the sake of messages; any other says it itself.
        (Kind::FlatMap, named) if is_named(named, "Vec") || is_named(named, "Option") => {
            first_argument(named).unwrap_or(named).to_token_stream()
        }
        (Kind::FlatMap, named) => quote_spanned!(named.span()=> <#named as ::core::iter::IntoIterator>::Item),
    };
    if lifetimes::has_any(item.clone()) {
        return Err(Error::new_spanned(
            item,
            "the rows of a stateful function own what they hold: `String` in place of `&str`",
        ));
    }
    Ok(item)
}

/// Returns `T` of `impl Iterator<Item = T>`.
fn item(bounds: &TypeImplTrait) -> Result<&Type> {
    let traits = bounds.bounds.iter().filter_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let arguments = traits.filter_map(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    });
    let mut items = arguments.flatten().filter_map(|argument| match argument {
        GenericArgument::AssocType(pair) if pair.ident == "Item" => Some(&pair.ty),
        _ => None,
    });
    items.next().ok_or_else(|| Error::new_spanned(bounds, "name the rows: `impl Iterator<Item = Row>`"))
}
