//! Opens checkpoints of YOLOv5 (v6.0 to v7.0) and of YOLOv8 (Ultralytics), which are pickled module trees in zip archives.
//! Nothing in a pickle is executed.

mod blocks;
mod checkpoint;
#[cfg(test)]
mod fixture;
mod module;
mod names;
mod pickle;
mod storage;

pub(super) use checkpoint::load;

#[cfg(test)]
mod tests;
