//! The table of functions that `plugin!` makes, and how it learns what each of them is.

use std::marker::PhantomData;

pub use crate::bindings::exports::wxhost::plugin::functions::{Function, Kind};
use crate::bindings::wxhost::plugin::types::{Schema, VarSize};
use crate::config::Config;
use crate::error::Result;
use crate::fold::{self, OpenFold, ReduceFunction, Reduced, TryFold};
use crate::sink::{self, OpenSink, Sink};
use crate::source::{self, OpenSource, Source};
use crate::state::{self, State};
use crate::stateful::{self, OpenStateful, Stateful};
use crate::transform::{OpenTransform, Transform};

/// The functions of a component.
pub trait Plugin: 'static {
    /// Returns the table, which is made once.
    fn entries() -> &'static [Entry];
}

/// One function: what the host is told about it, and how it is opened.
pub struct Entry {
    pub(crate) function: Function,
    pub(crate) open: Open,
}

type Migrate = fn(u32, &VarSize) -> Result<VarSize>;

pub(crate) enum Open {
    Transform(fn(&Schema, &str) -> Result<OpenTransform>),
    Fold(fn(&Schema, &str) -> Result<OpenFold>, Migrate),
    Stateful(fn(&Schema, &str) -> Result<OpenStateful>, Migrate),
    Source(fn(&str) -> Result<Box<dyn OpenSource>>),
    Sink(fn(&Schema, &str) -> Result<Box<dyn OpenSink>>),
}

/// Asks a type what it is. Method lookup takes the first of the traits below that the type's own traits allow: the
/// more references in front, the earlier. `plugin!` needs this because nothing else in the language tells a fold from
/// a source by its name alone.
pub struct Probe<T>(PhantomData<T>);

impl<T> Probe<T> {
    /// Makes a question about `T`.
    #[expect(clippy::new_without_default, reason = "only `plugin!` makes one")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

fn entry(path: &str, kind: Kind, doc: &str, state_version: u32, config_schema: String, open: Open) -> Entry {
    let name = path.rsplit("::").next().unwrap_or(path).trim().to_owned();
    let doc = doc.trim().to_owned();
    Entry { function: Function { name, kind, doc, state_version, config_schema }, open }
}

/// Finds stateless functions.
pub trait ProbeTransform {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: Transform> ProbeTransform for &&&&&Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        entry(path, T::KIND, T::DOC, 0, T::config_schema(), Open::Transform(T::open))
    }
}

/// Finds reductions.
pub trait ProbeReduce {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: ReduceFunction> ProbeReduce for &&&&Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        fold_entry::<Reduced<T>>(path)
    }
}

/// Finds folds.
pub trait ProbeFold {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: TryFold> ProbeFold for &&&Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        fold_entry::<T>(path)
    }
}

fn fold_entry<T: TryFold>(path: &str) -> Entry {
    let open = Open::Fold(fold::open::<T>, state::migrate::<T>);
    entry(path, Kind::Fold, T::DOC, T::VERSION, T::Config::json_schema(), open)
}

/// Finds stateful functions.
pub trait ProbeStateful {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: Stateful> ProbeStateful for &&Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        let open = Open::Stateful(stateful::open::<T>, state::migrate::<T>);
        entry(path, Kind::Stateful, T::DOC, T::VERSION, <T as State>::Config::json_schema(), open)
    }
}

/// Finds sources.
pub trait ProbeSource {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: Source> ProbeSource for &Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        entry(path, Kind::Source, T::DOC, 1, T::Config::json_schema(), Open::Source(source::open::<T>))
    }
}

/// Finds sinks.
pub trait ProbeSink {
    /// Makes the entry.
    fn entry(&self, path: &str) -> Entry;
}

impl<T: Sink> ProbeSink for Probe<T> {
    fn entry(&self, path: &str) -> Entry {
        entry(path, Kind::Sink, T::DOC, 1, T::Config::json_schema(), Open::Sink(sink::open::<T>))
    }
}

/// Makes a component of functions: `plugin!(a_function, AFold, ASource as its_name);`
///
/// Takes whatever carries one of the attributes `map`, `filter`, `filter_map`, `flat_map`, `key_on`, `reduce`,
/// `stateful_map` and `stateful_flat_map`, and types that implement `Fold`, `TryFold`, `Stateful`, `Source`, `Sink` or `Transform`. A function's name in flows is
/// its own, or what stands after `as`. Called once in a crate; the exports exist on `wasm32` only.
#[macro_export]
macro_rules! plugin {
    ($($path:path $(as $name:ident)?),+ $(,)?) => {
        #[doc(hidden)]
        pub struct WxhostPlugin;

        impl $crate::__private::Plugin for WxhostPlugin {
            fn entries() -> &'static [$crate::__private::Entry] {
                #[allow(unused_imports)]
                use $crate::__private::{
                    ProbeFold, ProbeReduce, ProbeSink, ProbeSource, ProbeStateful, ProbeTransform,
                };
                static ENTRIES: ::std::sync::OnceLock<::std::vec::Vec<$crate::__private::Entry>> =
                    ::std::sync::OnceLock::new();
                ENTRIES.get_or_init(|| ::std::vec![$(
                    (&&&&&&$crate::__private::Probe::<$path>::new())
                        .entry($crate::__private::name!($path $(as $name)?))
                ),+])
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::__private::bindings::export_plugin!(
            WxhostPlugin with_types_in $crate::__private::bindings
        );
    };
}

/// Chooses the name of a function.
#[doc(hidden)]
#[macro_export]
macro_rules! __name {
    ($path:path as $name:ident) => {
        ::std::stringify!($name)
    };
    ($path:path) => {
        ::std::stringify!($path)
    };
}
