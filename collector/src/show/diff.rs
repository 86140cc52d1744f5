//! `GET /api/v1/diff`: two selections beside each other, as one tree and as verdicts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Failure;
use super::flamegraph::MIN_SHARE_DEFAULT;
use super::openapi::SelectionParameters;
use super::parameters::{ALL_SERVICES, Parameters, seconds};
use super::tree::{FlatTree, Tree};
use crate::detect::{
    Basis, Direction, Group, Judgement, Policy, Subject, SyscallMetric, Verdict, judge,
};
use crate::diff::{Grouping, ProfileDiff, Replication, comparable};
use crate::store::{Selection, Store, StoreError, TimeRange, WindowProfile};

/// Lengths of the windows that are compared; the first as the alerts compare them.
const WINDOWS_NS: [u64; 3] = [60_000_000_000, 3_600_000_000_000, 86_400_000_000_000];

/// Most windows of units of a side, while longer windows make fewer: the detector gains nothing from more, and each is
/// read apart.
const UNIT_WINDOWS_MAX: u64 = 2_000;
/// Most verdicts of each kind in one answer; they come strongest first, so the rest says nothing.
const VERDICTS_MAX: usize = 1_000;

/// A comparison.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Diff {
    /// Before, or the version known to be good.
    baseline: Side,
    /// After, or the version in question.
    candidate: Side,
    /// What one independent observation is: `units` or `windows`.
    #[schema(value_type = String)]
    replication: Replication,
    /// What changed, by its cause, the strongest evidence first: direction, root with its numbers, chain, suspects,
    /// caller, path, what else it shows in, and whether it is a change or a cost shift with its partners.
    #[schema(value_type = Vec<Object>)]
    groups: Vec<Group>,
    /// What the comparison rests on: the correction for other functions' growth, the noise and the number of tests.
    #[schema(value_type = Object)]
    basis: Basis,
    /// Functions, the strongest evidence first.
    functions: Vec<FunctionChange>,
    /// Syscalls, the strongest evidence first.
    syscalls: Vec<SyscallChange>,
    #[serde(flatten)]
    tree: FlatTree,
}

/// One side of a comparison.
#[derive(Debug, Serialize, ToSchema)]
struct Side {
    /// Start of the range, Unix seconds.
    from: f64,
    /// End of the range, Unix seconds.
    to: f64,
    /// Samples.
    total: u64,
    /// CPU time in nanoseconds.
    cpu_ns: u64,
    /// Independent observations.
    replicates: usize,
}

/// What the detector says about one function. Shares are of all CPU samples of the side.
#[derive(Debug, Serialize, ToSchema)]
struct FunctionChange {
    /// Name without what changes from build to build.
    function: String,
    /// Executable, library or `[kernel]`.
    module: String,
    /// `self`: its own code; `total`: with all that it calls.
    kind: &'static str,
    /// Share before.
    baseline_share: f64,
    /// Share after, corrected for the growth or shrinking of the other functions.
    candidate_share: f64,
    /// Growth of the share that would have been found in four of five cases had it been the only one; absent without
    /// replicates.
    #[serde(skip_serializing_if = "Option::is_none")]
    detectable: Option<f64>,
    #[serde(flatten)]
    change: Change,
}

/// What the detector says about one number of a syscall: nanoseconds, or a share of calls for `error_rate`.
#[derive(Debug, Serialize, ToSchema)]
struct SyscallChange {
    /// Name of the syscall.
    name: String,
    /// `latency_shape`, `p50`, `p95`, `p99`, `error_rate`, `errno_` and a number, `call_rate` or `calls_per_request`.
    #[schema(value_type = String, example = "p99")]
    metric: SyscallMetric,
    /// Before.
    baseline: f64,
    /// After.
    candidate: f64,
    #[serde(flatten)]
    change: Change,
}

/// A difference and how sure it is.
#[derive(Debug, Serialize, ToSchema)]
struct Change {
    /// After minus before.
    delta: f64,
    /// Lower end of the 95 % interval of `delta`.
    ci_low: f64,
    /// Upper end of the 95 % interval of `delta`.
    ci_high: f64,
    /// False discovery rate at which this is just significant.
    q: f64,
    /// Samples or calls before.
    samples_baseline: u64,
    /// Samples or calls after.
    samples_candidate: u64,
    /// `regression`, `improvement`, `explained` (another finding accounts for it) or `not_significant`.
    verdict: &'static str,
    /// The finding that accounts for this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    explained_by: Option<String>,
}

/// Compares two selections. Parameters without a prefix hold for both sides, `baseline.…` and `candidate.…` for one.
#[utoipa::path(
    get,
    path = "/api/v1/diff",
    params(
        ("service" = String, Query, description = "the service"),
        SelectionParameters,
        ("baseline.version" = Option<String>, Query, description = "and any other of the above with this prefix"),
        ("candidate.version" = Option<String>, Query, description = "and any other of the above with this prefix"),
        ("min_share" = Option<f64>, Query, description = "leave out paths below this share of both sides"),
    ),
    responses((status = 200, body = Diff), (status = 400, body = super::openapi::Refusal)),
)]
pub(crate) async fn diff(
    State(state): State<super::State>,
    mut parameters: Parameters,
) -> Result<Json<Diff>, Failure> {
    let sides = parameters.take_sides()?;
    let min_share = parameters.take_number("min_share", MIN_SHARE_DEFAULT, 0.0..=1.0)?;
    parameters.finish()?;
    if sides.iter().any(|(selection, _)| selection.service == ALL_SERVICES) {
        let message = format!("`service` is `{ALL_SERVICES}`, expected the name of one service");
        return Err(Failure::Request(message));
    }
    let store = Arc::clone(&state.store);
    let policy = Arc::clone(&state.policy);
    let answer = state.queries.run(move || answer(&*store, &policy, &sides, min_share)).await?;
    Ok(Json(answer))
}

fn answer(
    store: &dyn Store,
    policy: &Policy,
    sides: &[(Selection, TimeRange); 2],
    min_share: f64,
) -> Result<Diff, Failure> {
    let [(baseline, baseline_range), (candidate, candidate_range)] = sides;
    let window_ns = window_ns(store, sides)?;
    let before = store.unit_windows(baseline, *baseline_range, window_ns)?;
    let after = store.unit_windows(candidate, *candidate_range, window_ns)?;
    let mut tree = Tree::<2>::new(&candidate.service);
    for (side, windows) in [&before, &after].into_iter().enumerate() {
        let merged = WindowProfile::merge(windows.iter().map(|window| &window.profile));
        tree.add_as(side, &[], &merged.into(), comparable);
    }
    let grouping = Grouping { window_ns, ..Grouping::default() };
    let compared = ProfileDiff::new(&before, &after, &grouping);
    let Judgement { verdicts, mut groups, basis, .. } = judge(&compared, policy);
    groups.truncate(VERDICTS_MAX);
    let (functions, syscalls) = changes(verdicts, policy, &basis);
    Ok(Diff {
        baseline: Side {
            from: seconds(baseline_range.start_unix_ns),
            to: seconds(baseline_range.end_unix_ns),
            total: compared.baseline_samples(),
            cpu_ns: before.iter().map(|window| window.cpu_ns).sum(),
            replicates: compared.baseline.len(),
        },
        candidate: Side {
            from: seconds(candidate_range.start_unix_ns),
            to: seconds(candidate_range.end_unix_ns),
            total: compared.candidate_samples(),
            cpu_ns: after.iter().map(|window| window.cpu_ns).sum(),
            replicates: compared.candidate.len(),
        },
        replication: compared.replication,
        groups,
        basis,
        functions,
        syscalls,
        tree: tree.flatten(min_share)?,
    })
}

/// The shortest windows of which neither side has too many.
fn window_ns(store: &dyn Store, sides: &[(Selection, TimeRange); 2]) -> Result<u64, StoreError> {
    let [shortest, .., longest] = WINDOWS_NS;
    let mut chosen = shortest;
    for (selection, range) in sides {
        let units = store.unit_lives(selection, *range)?.len() as u64;
        let length = range.end_unix_ns.saturating_sub(range.start_unix_ns);
        let fits =
            |window_ns: &&u64| units.saturating_mul(length / **window_ns) <= UNIT_WINDOWS_MAX;
        chosen = chosen.max(WINDOWS_NS.iter().find(fits).copied().unwrap_or(longest));
    }
    Ok(chosen)
}

fn changes(
    verdicts: Vec<Verdict>,
    policy: &Policy,
    basis: &Basis,
) -> (Vec<FunctionChange>, Vec<SyscallChange>) {
    // That of one test alone: many that are found at once share the rate.
    let level = policy.q / (2.0 * basis.tests.max(1) as f64);
    let (mut functions, mut syscalls) = (Vec::new(), Vec::new());
    for verdict in verdicts {
        let change = Change::from(&verdict);
        let before = verdict.baseline_value.unwrap_or(0.0);
        let detectable = verdict.detectable(policy, level);
        match verdict.subject {
            Subject::Function { module, function, kind } if functions.len() < VERDICTS_MAX => {
                functions.push(FunctionChange {
                    function,
                    module,
                    kind: kind.name(),
                    baseline_share: before,
                    candidate_share: verdict.candidate_value,
                    detectable,
                    change,
                });
            }
            Subject::Syscall { name, metric } if syscalls.len() < VERDICTS_MAX => {
                syscalls.push(SyscallChange {
                    name,
                    metric,
                    baseline: before,
                    candidate: verdict.candidate_value,
                    change,
                });
            }
            Subject::Function { .. } | Subject::Syscall { .. } => {}
        }
    }
    (functions, syscalls)
}

impl From<&Verdict> for Change {
    fn from(verdict: &Verdict) -> Self {
        let name = match (verdict.is_finding(), verdict.significant, verdict.direction) {
            (true, _, Direction::Worse) => "regression",
            (true, _, Direction::Better) => "improvement",
            (false, true, _) => "explained",
            (false, false, _) => "not_significant",
        };
        Self {
            delta: verdict.delta_abs,
            ci_low: verdict.ci_low,
            ci_high: verdict.ci_high,
            q: verdict.q,
            samples_baseline: verdict.samples_baseline,
            samples_candidate: verdict.samples_candidate,
            verdict: name,
            explained_by: verdict.explained_by.as_ref().map(ToString::to_string),
        }
    }
}
