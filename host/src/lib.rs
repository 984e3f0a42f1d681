pub mod data;
pub mod formats;
