//! Espalier
