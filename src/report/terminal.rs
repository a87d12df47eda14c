/// The width of the terminal in columns, if the output is one.
pub fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}
