//! Tests the self and total time of every function, every call edge and every path.

use std::ops::Range;

use crate::diff::ProfileDiff;

use super::count_test::{Exposures, INTERVAL_TAIL, Noise, Outcome, Sample};
use super::design::{Design, samples};
use super::dispersion::{Prior, Scatter};
use super::items::{Eligibility, Family, Item, Items};
use super::normalize::Scale;
use super::special::t_quantile;
use super::tree::{CallTree, Sums};
use super::{Direction, FunctionKind, Policy, Subject, Verdict};

/// Everything that was tested on stacks, and what came of it: what the root cause is sought in.
#[derive(Debug)]
pub(super) struct Tested<'d> {
    pub(super) diff: &'d ProfileDiff,
    pub(super) policy: &'d Policy,
    pub(super) tree: CallTree,
    pub(super) sums: Sums,
    pub(super) scale: Scale,
    /// Samples of each replicate, corrected by the scale.
    pub(super) exposures: Exposures,
    pub(super) items: Items,
    pub(super) prior: Prior,
    /// Parallel to the items.
    pub(super) outcomes: Vec<Outcome>,
    /// Standard errors that the 95 % interval of an outcome reaches, by its degrees of freedom.
    reaches: Vec<(f64, f64)>,
}

impl<'d> Tested<'d> {
    /// Tests all that has enough samples.
    pub(super) fn of(diff: &'d ProfileDiff, policy: &'d Policy) -> Self {
        let design = Design::of(diff, policy);
        let (tree, sums) = (CallTree::of(&diff.stacks), Sums::of(diff));
        let baselines = diff.baseline.len();
        let eligibility = Eligibility {
            samples_min: policy.min_function_samples as f64,
            path_share_min: policy.min_path_share,
            baselines,
        };
        let items = Items::of(&tree, &sums, baselines + diff.candidate.len(), eligibility);
        let samples = samples(diff);
        let scale = Scale::of(&items, &samples, &design);
        let exposures = scale.correct(design, samples);
        let scatters: Vec<Scatter> = (0..items.list.len())
            .map(|index| {
                let parts = sums.parts(&items.list[index].ranges);
                Scatter::of(&Sample::new(items.counts(index), &exposures), parts)
            })
            .collect();
        let is_first = |index: &usize| items.list[*index].same_as.is_none();
        let distinct: Vec<Scatter> =
            (0..scatters.len()).filter(is_first).map(|index| scatters[index]).collect();
        let prior = Prior::learn(&distinct);
        let outcomes = Vec::with_capacity(scatters.len());
        let mut tested = Self {
            diff,
            policy,
            tree,
            sums,
            scale,
            exposures,
            items,
            prior,
            outcomes,
            reaches: Vec::new(),
        };
        for (index, scatter) in scatters.iter().enumerate() {
            let outcome = tested.compare(tested.items.counts(index), scatter);
            if !tested.reaches.iter().any(|(degrees, _)| *degrees == outcome.degrees) {
                let reach = t_quantile(INTERVAL_TAIL, outcome.degrees);
                tested.reaches.push((outcome.degrees, reach));
            }
            tested.outcomes.push(outcome);
        }
        tested
    }

    /// The replicates that are used.
    pub(super) const fn design(&self) -> &Design {
        &self.exposures.design
    }

    /// Standard errors that the 95 % interval of an outcome reaches.
    fn reach(&self, outcome: &Outcome) -> f64 {
        let known = self.reaches.iter().find(|(degrees, _)| *degrees == outcome.degrees);
        known.map_or_else(|| t_quantile(INTERVAL_TAIL, outcome.degrees), |(_, reach)| *reach)
    }

    /// Tests any set of stacks, such as a union of items, beyond the policy's minimum effect.
    pub(super) fn test(&self, set: &[Range<u32>]) -> Outcome {
        let mut counts = vec![0.0; self.exposures.rows()];
        for range in set {
            self.sums.add_range(range, &mut counts);
        }
        let sample = Sample::new(&counts, &self.exposures);
        self.compare(&counts, &Scatter::of(&sample, self.sums.parts(set)))
    }

    fn compare(&self, counts: &[f64], scatter: &Scatter) -> Outcome {
        let Policy { rel_min, abs_min, .. } = *self.policy;
        Sample::new(counts, &self.exposures)
            .compare(self.noise(scatter), |base| (rel_min * base).max(abs_min))
    }

    /// The noise of one item: learned from all, or that of sampling alone where there are too few replicates to learn.
    fn noise(&self, scatter: &Scatter) -> Noise {
        if self.design().is_replicated(self.policy) {
            self.prior.noise(scatter)
        } else {
            Noise { dispersion: scatter.least, degrees: f64::INFINITY }
        }
    }

    /// P of each item, both directions looked at: the tail in the direction that was found counts twice. 1 without
    /// replicates.
    pub(super) fn p_values(&self) -> Vec<f64> {
        if !self.design().is_replicated(self.policy) {
            return vec![1.0; self.outcomes.len()];
        }
        self.outcomes.iter().map(|outcome| (2.0 * outcome.p).min(1.0)).collect()
    }

    /// Whether an item is told to people by itself: functions, but for a total that is nothing but the self time.
    pub(super) fn is_told(&self, index: usize) -> bool {
        let item = &self.items.list[index];
        match item.family {
            Family::SelfTime => true,
            Family::Total => item.same_as.is_none_or(|first| {
                let first: &Item = &self.items.list[first as usize];
                first.family != Family::SelfTime || first.function != item.function
            }),
            Family::Edge | Family::Path => false,
        }
    }

    /// What is said of one item, before it is known what else was tested. An edge or a path is told as the total time of
    /// its function.
    pub(super) fn verdict(&self, index: usize) -> Verdict {
        let (item, outcome) = (&self.items.list[index], &self.outcomes[index]);
        let [before, after] = self.design().pooled(self.items.counts(index));
        let [replicates_baseline, replicates_candidate] = self.design().replicates();
        let key = &self.diff.functions[item.function as usize];
        let kind = match item.family {
            Family::SelfTime => FunctionKind::SelfTime,
            Family::Total | Family::Edge | Family::Path => FunctionKind::Total,
        };
        let reach = self.reach(outcome);
        let [ci_low, ci_high] = outcome.interval(reach);
        Verdict {
            subject: Subject::Function {
                module: key.module.clone(),
                function: key.function.clone(),
                kind,
            },
            direction: if outcome.delta >= 0.0 { Direction::Worse } else { Direction::Better },
            baseline_value: (before > 0.0).then_some(outcome.baseline_rate),
            candidate_value: outcome.candidate_rate,
            delta_abs: outcome.delta,
            delta_rel: (outcome.baseline_rate > 0.0).then(|| outcome.delta / outcome.baseline_rate),
            ci_low,
            ci_high,
            ratio_interval: outcome.ratio_interval(reach),
            standard_error: outcome.error,
            degrees: outcome.degrees,
            p: 1.0,
            q: 1.0,
            samples_baseline: before as u64,
            samples_candidate: after as u64,
            replicates_baseline,
            replicates_candidate,
            significant: false,
            explained_by: None,
            also_visible_in: Vec::new(),
        }
    }
}
