//! What the core found, made readable: typed tables, plots.

mod cell;
mod draw;
mod error;
mod export;
mod font;
mod render;
mod sheet;
mod table;
mod terminal;

pub use cell::Cell;
pub use draw::{LabelledBox, class_colour, draw_boxes};
pub use error::{Error, Result};
pub use render::View;
pub use sheet::contact_sheet;
pub use table::{Aggregate, Column, Order, Table};
pub use terminal::terminal_width;
