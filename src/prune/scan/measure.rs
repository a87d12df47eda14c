//! Measuring: batch by batch, what lies before the groups once, then every group without its channels.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    super::{error::PruneError, pruner::Pruner, scan_error::ScanError},
    cells::{Target, targets},
    cut::Cut,
    found::{Scan, ScanCell, ScanRow},
    journal::{Journal, Records},
    options::ScanOptions,
    record::{Judge, Record},
};
use crate::{
    data::{Batch, Dataset},
    eval::{ActivationOptions, EvalError, over_batches},
    exec::Inference,
    graph::NodeId,
    model::digest,
    options::Options,
    progress::Progress,
};

impl Pruner {
    /// Measures what leaving out the lowest-scored share of each group's channels, or each channel alone, does to the loss
    /// or to mAP50-95, in evaluation on labelled images. Leaving out is zeroing, which equals removing.
    ///
    /// # Errors
    /// Options out of range, images or labels that cannot be used, scores that cannot be had, a journal of another scan, a
    /// listener that asks to stop; with a folder, the same call then goes on where it was.
    pub fn sensitivity(
        &self,
        dataset: &Dataset,
        options: &ScanOptions,
        progress: &dyn Progress,
    ) -> Result<Scan, PruneError> {
        options.check()?;
        let judge = Judge::new(self.model(), dataset, options)?;
        let targets = targets(self, options)?;
        let groups = self.groups().all();
        let cuts = targets.iter().map(|target| Cut::of(self.model(), self.groups(), &groups[target.group])).collect();
        let digest = digest(self.model().tensors())?;
        let (journal, records) = match &options.folder {
            Some(folder) => {
                let header = header(self, &digest, &targets, dataset, options)?;
                let cells: Vec<usize> =
                    [1].into_iter().chain(targets.iter().map(|target| target.cells.len())).collect();
                let (journal, records) = Journal::open(folder, &header, &cells)?;
                (Some(journal), records)
            }
            None => (None, Records::new()),
        };
        let mut scanner =
            Scanner { pruner: self, options, targets: &targets, cuts, judge, journal, records, batches: 0, done: 0 };
        scanner.measure(dataset, progress)?;
        Ok(scanner.found(dataset, digest))
    }
}

struct Scanner<'a> {
    pruner: &'a Pruner,
    options: &'a ScanOptions,
    targets: &'a [Target],
    cuts: Vec<Cut<'a>>,
    judge: Judge<'a>,
    journal: Option<Journal>,
    records: Records,
    /// Batches seen.
    batches: usize,
    /// Cells measured or found in the journal.
    done: usize,
}

impl Scanner<'_> {
    fn measure(&mut self, dataset: &Dataset, progress: &dyn Progress) -> Result<(), PruneError> {
        let ScanOptions { size, images, batch, split, .. } = self.options.clone();
        let count = images.min(dataset.split(&split)?.samples.len()).div_ceil(batch);
        let total = count * (1 + self.targets.iter().map(|target| target.cells.len()).sum::<usize>());
        let activations = ActivationOptions { size, images, batch, split };
        let taps: Vec<NodeId> = match self.options.reuse {
            true => self.cuts.iter().flat_map(|cut| cut.starts().iter().copied()).collect(),
            false => Vec::new(),
        };
        let network = Inference::new(self.pruner.model(), &sorted(taps))?;
        let mut failed = None;
        progress.start("sensitivity", Some(total as u64));
        let result =
            over_batches(self.pruner.model(), dataset, &activations, &Quiet(progress), "sensitivity", |batch| {
                self.batch(&network, batch, total, progress).map_err(|error| {
                    let stop = EvalError::Stopped { what: "cells", done: self.done, total };
                    failed = Some(error);
                    stop
                })
            });
        progress.finish();
        match failed {
            Some(error) => Err(error),
            None => Ok(result?),
        }
    }

    /// Measures what is not in the journal of a batch.
    fn batch(
        &mut self,
        network: &Inference,
        batch: &Batch,
        total: usize,
        progress: &dyn Progress,
    ) -> Result<(), PruneError> {
        let number = self.batches;
        self.batches += 1;
        self.judge.begin(batch)?;
        let missing = (0..=self.targets.len()).any(|unit| !self.records.contains_key(&(number, unit)));
        if !missing {
            self.done += 1 + self.targets.iter().map(|target| target.cells.len()).sum::<usize>();
            progress.advance(self.done as u64, "from the journal");
            return Ok(());
        }
        let whole = network.run(&batch.images)?;
        self.keep((number, 0), vec![self.judge.see(batch, &whole.outputs)?], "", &[])?;
        self.done += 1;
        for (at, target) in self.targets.iter().enumerate() {
            let name = self.pruner.groups().all()[target.group].name.clone();
            if !self.records.contains_key(&(number, at + 1)) {
                let done = self.done;
                let mut cell = 0;
                let records = self.group(at, batch, &whole.taps, &mut || {
                    cell += 1;
                    progress.advance((done + cell) as u64, &name);
                    match progress.stop_requested() {
                        true => Err(EvalError::Stopped { what: "cells", done: done + cell, total }.into()),
                        false => Ok(()),
                    }
                })?;
                self.keep((number, at + 1), records, &name, &target.cells)?;
            }
            self.done += target.cells.len();
            progress.advance(self.done as u64, &name);
        }
        Ok(())
    }

    /// Measures all cells of a group on a batch.
    fn group(
        &self,
        at: usize,
        batch: &Batch,
        known: &BTreeMap<NodeId, Tensor>,
        each: &mut dyn FnMut() -> Result<(), PruneError>,
    ) -> Result<Vec<Record>, PruneError> {
        let (target, cut) = (&self.targets[at], &self.cuts[at]);
        let network = if self.options.reuse { cut.network()? } else { None };
        let mut records = Vec::with_capacity(target.cells.len());
        for places in &target.cells {
            let outputs = match self.options.reuse {
                true => cut.run(network.as_ref(), &batch.images, known, places)?,
                false => cut.run_whole(&batch.images, places)?,
            };
            records.push(self.judge.see(batch, &outputs)?);
            each()?;
        }
        Ok(records)
    }

    /// Keeps a finished piece of work.
    fn keep(
        &mut self,
        place: (usize, usize),
        records: Vec<Record>,
        group: &str,
        cells: &[Vec<usize>],
    ) -> Result<(), PruneError> {
        let strange = records.iter().position(|record| matches!(record, Record::Loss(loss) if !loss.is_finite()));
        if let Some(at) = strange {
            let channels = cells.get(at).cloned().unwrap_or_default();
            return Err(ScanError::NotFinite { group: group.to_owned(), channels }.into());
        }
        if self.records.contains_key(&place) {
            return Ok(());
        }
        if let Some(journal) = &mut self.journal {
            journal.add(place, &records)?;
        }
        self.records.insert(place, records);
        Ok(())
    }

    fn score(&self, unit: usize, cell: usize) -> f64 {
        self.judge.score((0..self.batches).map(|batch| &self.records[&(batch, unit)][cell]))
    }

    fn found(&self, dataset: &Dataset, digest: String) -> Scan {
        let base = self.score(0, 0);
        let row = |(at, target): (usize, &Target)| {
            let group = &self.pruner.groups().all()[target.group];
            let cell = |(index, places): (usize, &Vec<usize>)| {
                let value = self.score(at + 1, index);
                let channels = places.iter().map(|&place| group.channels[place]).collect();
                ScanCell { channels, value, drop: self.options.metric.drop(base, value) }
            };
            ScanRow {
                group: group.name.clone(),
                layer: self.pruner.model().graph().node(group.layer).name.clone(),
                channels: group.coupled.len(),
                cells: target.cells.iter().enumerate().map(cell).collect(),
            }
        };
        Scan {
            model: self.pruner.model().provenance().name.clone(),
            digest,
            asked: self.pruner.options().to_string(),
            data: dataset.name.clone(),
            images: self.judge.images(),
            options: ScanOptions { folder: None, ..self.options.clone() },
            base,
            rows: self.targets.iter().enumerate().map(row).collect(),
        }
    }
}

fn sorted(mut nodes: Vec<NodeId>) -> Vec<NodeId> {
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// What a journal is of.
fn header(
    pruner: &Pruner,
    digest: &str,
    targets: &[Target],
    dataset: &Dataset,
    options: &ScanOptions,
) -> Result<Value, PruneError> {
    let mut channels = Sha256::new();
    for target in targets {
        channels.update(format!("{target:?}"));
    }
    let samples = &dataset.split(&options.split)?.samples;
    let mut labels = Sha256::new();
    samples.iter().take(options.images).for_each(|sample| labels.update(format!("{:?}", sample.boxes)));
    let options = ScanOptions { folder: None, ..options.clone() };
    let hex = |hash: Sha256| hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(json!({
        "scan": 1,
        "model": pruner.model().provenance().name,
        "tensors": digest,
        "options": options,
        "data": dataset.name,
        "images in the split": samples.len(),
        "labels": hex(labels),
        "order of channels": hex(channels),
    }))
}

/// Hears nothing, but stops when asked to: the scan itself says where it is.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}
