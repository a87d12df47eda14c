//! The font of all pictures, which the program carries with itself.

use std::sync::Once;

use plotters::style::{FontStyle, register_font};

/// The name to give to plotters; makes the font known to it.
pub(crate) fn family() -> &'static str {
    static KNOWN: Once = Once::new();
    // A font that can't be read would show as an error of the first text drawn.
    KNOWN.call_once(|| _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular()));
    "sans-serif"
}
