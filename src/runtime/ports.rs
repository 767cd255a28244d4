//! The started listeners of a runtime, and what those that have ended counted, under their labels.

use super::Core;
use super::stats::{PortLabels, Stats};
use crate::base::life::Threads;
use crate::port::Port;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// So many labels a section has of its own, over all time; then its listeners share one: with `port = 0` each start
/// has a new one. And so many labels of ended listeners are kept before new sections share one: a host may start
/// listeners under ever new names.
const LABELS: usize = 64;

/// Started listeners, and what those that have ended counted: counters never go back.
#[derive(Default)]
pub(super) struct Ports {
    /// Under labels that they keep, so that none of their counters vanishes.
    pub running: Vec<(PortLabels, Arc<Port>)>,
    ended: Vec<(PortLabels, Stats)>,
    /// The labels of its own that each section has had.
    labels_had: HashMap<String, HashSet<String>>,
    /// Of ended ones: accepter threads that may not be gone yet.
    pub leaving: Vec<Arc<Threads>>,
}

impl Ports {
    /// What a listener that starts counts under. Counts move to new labels only: who compares scrapes would take
    /// them for events.
    fn labels_for(&mut self, labels: PortLabels) -> PortLabels {
        let runs = |text: &str| self.running.iter().any(|(other, _)| other.text == text);
        if runs(&labels.text) || self.ended.iter().any(|(o, _)| o.text == labels.text) {
            return labels;
        }
        let shared = labels.clone().of_section();
        let had = self.labels_had.get(&labels.section);
        let is_new = had.is_none();
        // What has been left does not come back with what others have counted.
        let is_used_up = had.is_some_and(|had| had.len() >= LABELS || had.contains(&labels.text));
        let is_with_others = |(other, _): &(PortLabels, Stats)| {
            other.text == shared.text && other.configured == labels.configured
        };
        if self.ended.iter().any(is_with_others) {
            return shared;
        }
        let has_shared = |(other, _): &(PortLabels, Stats)| other.text == shared.text;
        let others_count_there = runs(&shared.text) || self.ended.iter().any(has_shared);
        if is_used_up && others_count_there {
            return shared;
        }
        let is_full = self.ended.len() >= LABELS;
        let mut idle = self.ended.iter_mut().map(|(other, _)| other).filter(|o| !runs(&o.text));
        let before =
            idle.find(|other| other.configured == labels.configured && other.text != shared.text);
        let labels = if is_used_up { shared.clone() } else { labels };
        match before {
            // It had another port before: what was counted then goes along.
            Some(before) => *before = labels.clone(),
            None if is_full && is_new => return PortLabels::others(),
            None if is_full => return shared,
            _ => (),
        }
        if !is_used_up {
            let had = self.labels_had.entry(labels.section.clone()).or_default();
            had.insert(labels.text.clone());
        }
        labels
    }
}

impl Core {
    /// A listener has started.
    pub fn add_port(&self, port: &Arc<Port>) {
        let mut ports = self.ports.lock();
        let labels = ports.labels_for(PortLabels::of(port));
        ports.running.push((labels, port.clone()));
    }

    /// A listener has ended: it is let go, its counters stay.
    pub fn retire_port(&self, port: &Port) {
        let mut ports = self.ports.lock();
        let Some(at) = ports.running.iter().position(|(_, other)| other.number == port.number)
        else {
            return;
        };
        let (labels, retired) = ports.running.swap_remove(at);
        ports.leaving.retain(|threads| !threads.are_gone());
        ports.leaving.push(retired.threads.clone());
        count_under(&mut ports.ended, labels, port);
        // The caller holds the port too: nothing is dropped here.
        drop(retired);
    }

    /// The counters of each listener, those with the same labels together.
    pub(super) fn stats_by_port(&self) -> Vec<(PortLabels, Stats)> {
        let ports = self.ports.lock();
        let mut all = ports.ended.clone();
        for (labels, port) in &ports.running {
            count_under(&mut all, labels.clone(), port).note_certificate(port);
        }
        all
    }
}

fn count_under<'a>(
    all: &'a mut Vec<(PortLabels, Stats)>,
    labels: PortLabels,
    port: &Port,
) -> &'a mut Stats {
    let known = all.iter().position(|(other, _)| other.text == labels.text);
    let at = known.unwrap_or_else(|| {
        all.push((labels, Stats::empty()));
        all.len() - 1
    });
    all[at].1.add(port);
    &mut all[at].1
}
