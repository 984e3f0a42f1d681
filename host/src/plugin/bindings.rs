//! The Rust side of `wit/`: generated types and calls, and borrowing forms of what is handed to a guest.
//!
//! The generated types own their lists. That is right for what a guest returns, and would cost a copy of every buffer
//! for what a guest is given; so batches go in through [`wire`], whose types borrow from Arrow's buffers.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "plugin",
        additional_derives: [PartialEq],
    });
}

pub(super) use generated::exports::wxhost::plugin::{fold, functions, sink, source, stateful, transform};
pub(super) use generated::wxhost::plugin::{host, types};

/// `types.batch` and what it is made of, borrowed. The shapes are checked against the component's when a function is
/// looked up, so a difference from the WIT text is an error there and never a wrong value.
pub(super) mod wire {
    use wasmtime::component::{ComponentType, Lower};

    #[derive(Clone, Copy, Debug, ComponentType, Lower)]
    #[component(record)]
    pub struct VarSize<'a> {
        pub offsets: &'a [i32],
        pub data: &'a [u8],
    }

    #[derive(Clone, Copy, Debug, ComponentType, Lower)]
    #[component(record)]
    pub struct ListData<'a> {
        pub offsets: &'a [i32],
        pub child: u32,
    }

    #[derive(Clone, Copy, Debug, ComponentType, Lower)]
    #[component(variant)]
    pub enum Values<'a> {
        #[component(name = "boolean")]
        Boolean(&'a [u8]),
        #[component(name = "int32")]
        Int32(&'a [i32]),
        #[component(name = "int64")]
        Int64(&'a [i64]),
        #[component(name = "uint32")]
        Uint32(&'a [u32]),
        #[component(name = "uint64")]
        Uint64(&'a [u64]),
        #[component(name = "float32")]
        Float32(&'a [f32]),
        #[component(name = "float64")]
        Float64(&'a [f64]),
        #[component(name = "var-size")]
        VarSize(VarSize<'a>),
        #[component(name = "list")]
        List(ListData<'a>),
        #[component(name = "struct")]
        Struct(&'a [u32]),
    }

    #[derive(Clone, Copy, Debug, ComponentType, Lower)]
    #[component(record)]
    pub struct Column<'a> {
        pub rows: u32,
        pub validity: Option<&'a [u8]>,
        pub values: Values<'a>,
    }

    #[derive(Clone, Copy, Debug, ComponentType, Lower)]
    #[component(record)]
    pub struct Batch<'a> {
        pub rows: u32,
        pub columns: &'a [Column<'a>],
        pub roots: &'a [u32],
    }
}
