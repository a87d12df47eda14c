//! Scores from data need the memory of one batch, however many images there are.

use espalier::{
    data::{ShapesOptions, shapes},
    eval::ActivationOptions,
    progress::Silent,
    prune::{Data, GroupScores, OwnCriterion, PruneData, PruneOptions, Pruner},
    zoo::{Fresh, yolo},
};
use espalier_kernels::allocator;
use peak_alloc::PeakAlloc;

/// Counts what is allocated: pages that the process keeps say more about the allocator.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const MB: usize = 1 << 20;

/// The most memory that scores of every kind borrow: of activations, noise, gradients of batches and of single images.
fn borrowed(images: usize, data: &PruneData) -> usize {
    let model = yolo("yolov5n", &Fresh::numbered(6)).unwrap();
    let every = OwnCriterion::new(|group: &GroupScores| Ok(group.scores["fisher"].clone())).needing(Data::Labels);
    let mut data = data.clone();
    data.options.images = images;
    let pruner = Pruner::with_criterion(&model, PruneOptions::default(), every).unwrap().with_data(data);
    allocator::give_back();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    pruner.measure(&Silent).unwrap();
    ALLOCATED.peak_usage() - before
}

#[test]
fn many_images_need_the_memory_of_one_batch() {
    let mut drawn = ShapesOptions::default();
    (drawn.train, drawn.val, drawn.size) = (40, 1, 160);
    let dataset = shapes(&drawn).unwrap();
    let mut options = ActivationOptions::default();
    (options.size, options.batch) = (160, 4);
    let data = PruneData { dataset, options };
    // The first pass over the images fills their cache.
    borrowed(40, &data);
    let [few, many] = [8, 40].map(|images| borrowed(images, &data));
    assert!(few > 20 * MB, "{} MB: the test needs scores that borrow much", few / MB);
    assert!(many.abs_diff(few) < few / 20, "{few} bytes for 8 images, {many} for 40");
}
