//! Decoded images kept in memory within a budget.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image::RgbImage;

/// The bytes that all splits of a dataset may keep together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0) })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

type Images = HashMap<(usize, usize), Option<Arc<RgbImage>>>;

/// Images of one split by (sample, size). `None` stands for an image that could not be read, so that it is tried once.
///
/// When the budget is full, images of other sizes than the one being added make room; images of the same size stay, since
/// a shuffled epoch asks for each of them equally often and replacing them would only cost.
#[derive(Debug)]
pub(crate) struct ImageCache {
    budget: Arc<Budget>,
    images: Mutex<Images>,
}

impl ImageCache {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, images: Mutex::default() }
    }

    pub(crate) fn get(&self, sample: usize, size: usize) -> Option<Option<Arc<RgbImage>>> {
        self.lock().get(&(sample, size)).cloned()
    }

    pub(crate) fn put(&self, sample: usize, size: usize, image: Option<&Arc<RgbImage>>) {
        let mut images = self.lock();
        if images.contains_key(&(sample, size)) {
            return;
        }
        let bytes = image.map_or(0, |i| i.as_raw().len());
        if !self.budget.take(bytes) {
            images.retain(|&(_, other), kept| {
                let stays = other == size || kept.is_none();
                if let (false, Some(image)) = (stays, kept) {
                    self.budget.give_back(image.as_raw().len());
                }
                stays
            });
            if !self.budget.take(bytes) {
                return;
            }
        }
        images.insert((sample, size), image.cloned());
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ImageCache {
    fn drop(&mut self) {
        let held: usize = self.lock().values().flatten().map(|i| i.as_raw().len()).sum();
        self.budget.give_back(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_its_budget_and_makes_room_for_another_size() {
        let budget = Budget::new(1000);
        let image = |side| Arc::new(RgbImage::new(side, side));
        let (cache, other) = (ImageCache::new(budget.clone()), ImageCache::new(budget.clone()));
        // 10 × 10 pixels take 300 bytes.
        for sample in 0..5 {
            cache.put(sample, 10, Some(&image(10)));
        }
        assert_eq!(budget.used(), 900);
        assert!(cache.get(2, 10).is_some() && cache.get(3, 10).is_none());
        other.put(0, 10, Some(&image(10)));
        assert!(other.get(0, 10).is_none(), "the budget is shared");
        cache.put(0, 16, Some(&image(16)));
        assert!(cache.get(0, 16).is_some() && cache.get(0, 10).is_none());
        assert_eq!(budget.used(), 768);
        drop(cache);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn remembers_what_cannot_be_read() {
        let cache = ImageCache::new(Budget::new(0));
        cache.put(7, 64, None);
        assert_eq!(cache.get(7, 64), Some(None));
        assert_eq!(cache.get(8, 64), None);
    }
}
