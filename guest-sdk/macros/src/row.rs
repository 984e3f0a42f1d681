//! `#[derive(Row)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Data, DeriveInput, Error, Fields, GenericParam, Ident, Lifetime, LitStr, Result, Type};

use crate::attributes::sdk;

struct Field<'a> {
    ident: &'a Ident,
    column: String,
    rust_type: &'a Type,
}

pub fn expand(input: DeriveInput) -> Result<TokenStream> {
    let (reads, writes) = directions(&input)?;
    let fields = fields(&input)?;
    let lifetime = lifetime(&input)?;
    let read = reads.then(|| read(&input.ident, lifetime, &fields));
    let write = writes.then(|| write(&input.ident, lifetime, &fields));
    Ok(quote! {
        #[allow(unused_variables, unused_mut, clippy::all)]
        const _: () = {
            #read
            #write
        };
    })
}

fn directions(input: &DeriveInput) -> Result<(bool, bool)> {
    let mut directions = (true, true);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            directions = match () {
                () if meta.path.is_ident("input") => (true, false),
                () if meta.path.is_ident("output") => (false, true),
                () => return Err(meta.error("wanted `input` or `output`")),
            };
            Ok(())
        })?;
    }
    Ok(directions)
}

fn fields(input: &DeriveInput) -> Result<Vec<Field<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a row is a struct: columns are its fields"));
    };
    let Fields::Named(named) = &data.fields else {
        return Err(Error::new_spanned(&input.ident, "a row's fields have names: those of its columns"));
    };
    let mut fields: Vec<Field<'_>> = Vec::new();
    for field in &named.named {
        let Some(ident) = &field.ident else { continue };
        let mut column = ident.unraw().to_string();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("rename") {
                    return Err(meta.error("wanted `rename = \"column\"`"));
                }
                column = meta.value()?.parse::<LitStr>()?.value();
                Ok(())
            })?;
        }
        if fields.iter().any(|field| field.column == column) {
            return Err(Error::new_spanned(ident, format!("two fields have the column {column:?}")));
        }
        fields.push(Field { ident, column, rust_type: &field.ty });
    }
    Ok(fields)
}

fn lifetime(input: &DeriveInput) -> Result<Option<&Lifetime>> {
    let mut found = None;
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(parameter) if found.is_none() => found = Some(&parameter.lifetime),
            GenericParam::Lifetime(parameter) => {
                return Err(Error::new_spanned(parameter, "a row has one lifetime at most: that of its batch"));
            }
            other => return Err(Error::new_spanned(other, "a row cannot be generic: its columns must be known")),
        }
    }
    Ok(found)
}

fn read(name: &Ident, lifetime: Option<&Lifetime>, fields: &[Field<'_>]) -> TokenStream {
    let sdk = sdk();
    let batch = lifetime.cloned().unwrap_or_else(|| Lifetime::new("'wxhost_batch", name.span()));
    let this = lifetime.map_or_else(|| quote!(#name), |lifetime| quote!(#name<#lifetime>));
    let columns = fields.iter().rev().fold(quote!(()), |rest, field| {
        let rust_type = field.rust_type;
        quote!((<#rust_type as #sdk::Read<#batch>>::Column, #rest))
    });
    let members =
        fields.iter().map(|Field { column, rust_type, .. }| quote!(#sdk::Member::of::<#batch, #rust_type>(#column)));
    let binds = fields.iter().rev().fold(quote!(()), |rest, field| {
        let rust_type = field.rust_type;
        quote!((places.bind_next::<#rust_type>(batch)?, #rest))
    });
    let variables: Vec<_> = (0..fields.len()).map(|index| format_ident!("column_{index}")).collect();
    let pattern = variables.iter().rev().fold(quote!(()), |rest, variable| quote!((#variable, #rest)));
    let gets = fields.iter().zip(&variables).map(|(Field { ident, column, rust_type }, variable)| {
        quote! {
            #ident: match <#rust_type as #sdk::Read<#batch>>::get(#variable, row) {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(fault) => return ::core::result::Result::Err(fault.within(#column)),
            }
        }
    });
    quote! {
        impl<#batch> #sdk::Read<#batch> for #this {
            type Column = #sdk::ReadMembers<#batch, #columns>;

            fn wanted() -> ::std::string::String {
                #sdk::wanted_members(Self::members())
            }

            fn members() -> ::core::option::Option<::std::vec::Vec<#sdk::Member>> {
                ::core::option::Option::Some(::std::vec![#(#members),*])
            }

            fn plan(schema: &#sdk::Schema, index: u32) -> ::core::result::Result<#sdk::Plan, #sdk::Mismatch> {
                #sdk::plan_members(schema, index, Self::members())
            }

            fn column(
                plan: &#sdk::Plan,
                batch: &#batch #sdk::Batch,
                place: #sdk::Place,
            ) -> #sdk::Result<Self::Column> {
                let mut places = #sdk::MemberPlaces::of(plan, batch, place)?;
                let columns = #binds;
                ::core::result::Result::Ok(places.finish(columns))
            }

            #[inline(always)]
            fn get(column: &Self::Column, row: usize) -> ::core::result::Result<Self, #sdk::Fault> {
                column.check(row)?;
                let #pattern = &column.fields;
                ::core::result::Result::Ok(Self { #(#gets),* })
            }
        }
    }
}

fn write(name: &Ident, lifetime: Option<&Lifetime>, fields: &[Field<'_>]) -> TokenStream {
    let sdk = sdk();
    let generics = lifetime.map(|lifetime| quote!(<#lifetime>));
    let builders = fields.iter().rev().fold(quote!(()), |rest, field| {
        let rust_type = field.rust_type;
        quote!((<#rust_type as #sdk::Write>::Builder, #rest))
    });
    let types =
        fields.iter().map(|Field { column, rust_type, .. }| quote!(#sdk::push_field_of::<#rust_type>(fields, #column)));
    let variables: Vec<_> = (0..fields.len()).map(|index| format_ident!("column_{index}")).collect();
    let pattern = variables.iter().rev().fold(quote!(()), |rest, variable| quote!((#variable, #rest)));
    let pushes = fields.iter().zip(&variables).map(|(Field { ident, rust_type, .. }, variable)| {
        quote!(<#rust_type as #sdk::Write>::append_to(self.#ident, #variable);)
    });
    quote! {
        impl #generics #sdk::Write for #name #generics {
            type Builder = #sdk::WriteMembers<#builders>;

            const IS_ROW: bool = true;

            fn data_type(fields: &mut ::std::vec::Vec<#sdk::Field>) -> #sdk::DataType {
                let members = ::std::vec![#(#types),*];
                #sdk::DataType::Struct(members)
            }

            #[inline]
            fn append_to(self, builder: &mut Self::Builder) {
                builder.rows += 1;
                let #pattern = &mut builder.fields;
                #(#pushes)*
            }
        }
    }
}
