//! The derive and attribute macros of `wxhost-guest`, which documents and re-exports them.

mod attributes;
mod config;
mod function;
mod lifetimes;
mod reduce;
mod row;
mod state;
mod stateful;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a struct a row: its fields are read from and written into the columns of their names.
///
/// `#[row(rename = "...")]` on a field gives the column another name than the field. `#[row(input)]` or
/// `#[row(output)]` on the struct makes it readable or writable only.
#[proc_macro_derive(Row, attributes(row))]
pub fn row(input: TokenStream) -> TokenStream {
    row::expand(parse_macro_input!(input)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type the state of a fold or of a stateful function. See the trait `State` for the attributes.
#[proc_macro_derive(State, attributes(state, serde))]
pub fn state(input: TokenStream) -> TokenStream {
    state::expand(parse_macro_input!(input)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a type part of states and positions, and a row that `reduce` can keep: derives serde's traits through the SDK,
/// so that the plugin needs no dependency on serde. Types that derive serde's traits themselves do as well.
#[proc_macro_derive(Saved, attributes(serde))]
pub fn saved(input: TokenStream) -> TokenStream {
    state::expand_saved(&parse_macro_input!(input)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a struct with named fields the configuration of a function.
#[proc_macro_derive(Config, attributes(serde))]
pub fn config(input: TokenStream) -> TokenStream {
    config::expand(parse_macro_input!(input)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a function that returns one row for each row. `#[map(extend)]` sets the columns beside those of the input.
#[proc_macro_attribute]
pub fn map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(function::Kind::Map, arguments, item)
}

/// Makes a function that says which rows to keep.
#[proc_macro_attribute]
pub fn filter(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(function::Kind::Filter, arguments, item)
}

/// Makes a function that returns one row or none for each row. `(extend)` as in `map`.
#[proc_macro_attribute]
pub fn filter_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(function::Kind::FilterMap, arguments, item)
}

/// Makes a function that returns any number of rows for each row. `(extend)` as in `map`.
#[proc_macro_attribute]
pub fn flat_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(function::Kind::FlatMap, arguments, item)
}

/// Makes a function that returns the key of a row.
#[proc_macro_attribute]
pub fn key_on(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute(function::Kind::KeyOn, arguments, item)
}

/// Makes a fold of a function that puts two rows together. `#[reduce(version = 2)]` sets the version of the state.
#[proc_macro_attribute]
pub fn reduce(arguments: TokenStream, item: TokenStream) -> TokenStream {
    reduce::expand(arguments.into(), parse_macro_input!(item)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a stateful function of a function that takes the state of a row's key beside the row, and returns one row.
///
/// The state is `None` before the first row of a key, and setting it to `None` forgets the key. It derives `Saved`, or is
/// of a type that has serde's traits anyhow. The rows returned own what they hold. A function that fails must leave the
/// state as it was. `#[stateful_map(version = 2, migrate = path)]` sets the version of the state and how states of
/// older ones are read, as for `State`.
///
/// ```ignore
/// /// The mean of the values so far.
/// #[stateful_map]
/// fn running_mean(state: &mut Option<(f64, u64)>, value: f64) -> f64 {
///     let (sum, rows) = state.unwrap_or_default();
///     let (sum, rows) = (sum + value, rows + 1);
///     *state = Some((sum, rows));
///     sum / rows as f64
/// }
/// ```
#[proc_macro_attribute]
pub fn stateful_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    stateful_attribute(stateful::Kind::Map, arguments, item)
}

/// Makes a stateful function of a function that takes the state of a row's key beside the row, and returns any number of
/// rows. Otherwise as `stateful_map`.
#[proc_macro_attribute]
pub fn stateful_flat_map(arguments: TokenStream, item: TokenStream) -> TokenStream {
    stateful_attribute(stateful::Kind::FlatMap, arguments, item)
}

fn stateful_attribute(kind: stateful::Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    stateful::expand(kind, arguments.into(), parse_macro_input!(item))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

fn attribute(kind: function::Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    function::expand(kind, arguments.into(), parse_macro_input!(item))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
