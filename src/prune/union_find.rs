//! Disjoint sets of small integers (Tarjan 1975: union by size, path halving).

/// A partition of 0‥n into disjoint sets.
#[derive(Clone, Debug)]
pub(super) struct UnionFind {
    parent: Vec<usize>,
    size: Vec<usize>,
}

impl UnionFind {
    /// `count` sets of one element each.
    pub(super) fn new(count: usize) -> Self {
        Self { parent: (0..count).collect(), size: vec![1; count] }
    }

    /// The element that stands for the set of `element`.
    pub(super) fn find(&mut self, mut element: usize) -> usize {
        while self.parent[element] != element {
            self.parent[element] = self.parent[self.parent[element]];
            element = self.parent[element];
        }
        element
    }

    /// Makes one set of the two that hold `a` and `b`.
    pub(super) fn unite(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return;
        }
        let (small, large) = if self.size[a] < self.size[b] { (a, b) } else { (b, a) };
        self.parent[small] = large;
        self.size[large] += self.size[small];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn united_elements_share_a_representative() {
        let mut sets = UnionFind::new(10);
        for (a, b) in [(0, 1), (2, 3), (3, 1), (7, 8), (8, 8)] {
            sets.unite(a, b);
        }
        let same = |sets: &mut UnionFind, a, b| sets.find(a) == sets.find(b);
        assert!(same(&mut sets, 0, 2) && same(&mut sets, 7, 8));
        assert!(!same(&mut sets, 0, 7) && !same(&mut sets, 4, 5) && !same(&mut sets, 9, 0));
    }
}
