//! `#[derive(State)]` and `#[derive(Saved)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Path, Result, Type};

use crate::attributes::{doc, sdk, version};

struct Options {
    version: u32,
    config: Option<Type>,
    migrate: Option<Path>,
    has_serde: bool,
}

pub fn expand_saved(input: &DeriveInput) -> Result<TokenStream> {
    check(input)?;
    serde_impls(input)
}

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    check(&input)?;
    let Options { version, config, migrate, has_serde } = options(&input)?;
    let sdk = sdk();
    let name = &input.ident;
    let doc = doc(&input.attrs);
    let serde = (!has_serde).then(|| serde_impls(&input)).transpose()?;
    let (config, start) = match config {
        Some(config) => (quote!(#config), quote!(<Self as ::core::convert::From<&#config>>::from(config))),
        None => (quote!(#sdk::NoConfig), quote!(<Self as ::core::default::Default>::default())),
    };
    let migrates = migrate.is_some();
    let migrate = match migrate {
        Some(path) => quote!(#path(from_version, bytes)),
        None => quote!(#sdk::no_migration(from_version, #version)),
    };
    Ok(quote! {
        #serde

        const _: () = {
            impl #sdk::State for #name {
                const VERSION: u32 = #version;
                const DOC: &'static str = #doc;
                const MIGRATES: bool = #migrates;
                type Config = #config;

                fn new(config: &Self::Config) -> Self {
                    #start
                }

                fn encode(&self, bytes: ::std::vec::Vec<u8>) -> #sdk::Result<::std::vec::Vec<u8>> {
                    #sdk::encode(self, bytes)
                }

                fn decode(bytes: &[u8]) -> #sdk::Result<Self> {
                    #sdk::decode(bytes)
                }

                #[allow(unused_variables)]
                fn migrate(from_version: u32, bytes: &[u8]) -> #sdk::Result<Self> {
                    #migrate
                }
            }
        };
    })
}

fn check(input: &DeriveInput) -> Result<()> {
    match input.generics.params.first() {
        Some(parameter) => Err(Error::new_spanned(parameter, "a state cannot be generic: its encoding must be known")),
        None => Ok(()),
    }
}

fn options(input: &DeriveInput) -> Result<Options> {
    let mut options = Options { version: 1, config: None, migrate: None, has_serde: false };
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            match () {
                () if meta.path.is_ident("version") => options.version = version(&meta)?,
                () if meta.path.is_ident("config") => options.config = Some(meta.value()?.parse()?),
                () if meta.path.is_ident("migrate") => options.migrate = Some(meta.value()?.parse()?),
                () if meta.path.is_ident("serde") => options.has_serde = true,
                () => return Err(meta.error("wanted `version = 2`, `config = Type`, `migrate = path` or `serde`")),
            }
            Ok(())
        })?;
    }
    Ok(options)
}

/// Derives serde's traits through a copy of the type, because one derive cannot ask for another.
fn serde_impls(input: &DeriveInput) -> Result<TokenStream> {
    let copy = copy(input, &quote!(Serialize, Deserialize), None)?;
    let sdk = sdk();
    let name = &input.ident;
    Ok(quote! {
        const _: () = {
            #copy

            impl #sdk::serde::Serialize for #name {
                fn serialize<S: #sdk::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    Copied::serialize(self, serializer)
                }
            }

            impl<'de> #sdk::serde::Deserialize<'de> for #name {
                fn deserialize<D: #sdk::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    Copied::deserialize(deserializer)
                }
            }
        };
    })
}

/// Writes a copy of a type, called `Copied`, with serde's remote derive.
pub fn copy(input: &DeriveInput, derives: &TokenStream, extra: Option<TokenStream>) -> Result<TokenStream> {
    let sdk = sdk();
    let derives: Vec<TokenStream> = syn::parse::Parser::parse2(
        syn::punctuated::Punctuated::<syn::Ident, syn::Token![,]>::parse_terminated,
        derives.clone(),
    )?
    .iter()
    .map(|derive| quote!(#sdk::serde::#derive))
    .collect();
    let mut copy = input.clone();
    copy.ident = syn::Ident::new("Copied", input.ident.span());
    copy.vis = syn::Visibility::Inherited;
    copy.attrs.retain(|attribute| attribute.path().is_ident("serde"));
    let keep = |attributes: &mut Vec<syn::Attribute>| attributes.retain(|attribute| attribute.path().is_ident("serde"));
    match &mut copy.data {
        Data::Struct(data) => data.fields.iter_mut().for_each(|field| keep(&mut field.attrs)),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                keep(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| keep(&mut field.attrs));
            }
        }
        Data::Union(_) => return Err(Error::new_spanned(&input.ident, "a union cannot be encoded")),
    }
    let crate_path = "::wxhost_guest::__private::serde";
    let remote = input.ident.to_string();
    Ok(quote! {
        #[allow(dead_code)]
        #[derive(#(#derives),*)]
        #[serde(crate = #crate_path, remote = #remote #extra)]
        #copy
    })
}
