//! The terms, a file each, and their list.

mod attention;
mod box_iou;
mod boxes;
mod channelwise;
mod crosskd;
mod fgd;
mod hint;
mod list;
mod logits;
mod mgd;
mod own;
mod pkd;
mod quality;
mod rkd;
mod score_l2;
mod sp;

pub(super) use list::{Made, wanted};
pub use list::{TERMS, TermInfo};

#[cfg(test)]
mod hand_tests;
#[cfg(test)]
mod relations_tests;
#[cfg(test)]
mod tests;
