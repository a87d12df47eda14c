//! What the core found, made readable: typed tables, plots.

mod cell;
mod error;
mod export;
mod render;
mod table;
mod terminal;

pub use cell::Cell;
pub use error::{Error, Result};
pub use render::View;
pub use table::{Aggregate, Column, Order, Table};
pub use terminal::terminal_width;
