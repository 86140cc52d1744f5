//! Random histories of a store, beside the model: what the two answer must not differ.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use flamewatch_collector::store::{Arrival, Selection, Store, TimeRange, Written};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::answers::{ALWAYS, answers, select};
use super::batches::{SECOND, Sent, T0};
use super::model::Model;
use super::subject::Subject;

/// Most steps of one history.
const STEPS_MAX: usize = 24;

/// Histories of a store that is too slow for more than this are not made smaller when one fails.
const SHRINK_CASES_MIN: u32 = 16;

/// What may happen to a store.
#[derive(Debug, Clone)]
enum Step {
    /// A new batch.
    Write(Box<Sent>),
    /// A batch of before again, in another form when the flag says so.
    Repeat(usize, bool),
    /// A batch whose stacks of before are named by key only.
    Known(usize),
    /// The collector ends and starts again.
    Reopen,
    /// What is complete is added up.
    Compact,
}

/// Runs so many histories.
pub(crate) fn histories_agree_with_the_model(subject: &mut Subject, cases: u32) {
    static HISTORY: AtomicU64 = AtomicU64::new(0);
    let max_shrink_iters = if cases < SHRINK_CASES_MIN { 0 } else { u32::MAX };
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..STEPS_MAX);
    let questions = proptest::collection::vec((0u64..400, 0u64..400), 1..4);
    // The runner takes a function that can be called from anywhere; it calls it from here only.
    let subject = RefCell::new(subject);
    TestRunner::new(config)
        .run(&(steps, questions), |(steps, questions)| {
            // Services of their own keep histories on one store apart.
            let service = format!("history-{}", HISTORY.fetch_add(1, Ordering::Relaxed));
            let model = Model::default();
            check(&mut subject.borrow_mut(), &model, (&service, &steps), &questions);
            Ok(())
        })
        .unwrap();
}

fn check(
    subject: &mut Subject,
    model: &Model,
    (service, steps): (&str, &[Step]),
    questions: &[(u64, u64)],
) {
    let before = subject.store().stats().unwrap();
    let mut written: Vec<Sent> = Vec::new();
    for step in steps {
        apply(subject, model, service, (step, &mut written));
    }
    let all = select(service, &[]);
    same(subject.store(), model, &all, ALWAYS);
    for (from, length) in questions {
        let start = T0 + from * SECOND;
        let range = TimeRange { start_unix_ns: start, end_unix_ns: start + length * SECOND };
        for labels in [&[][..], &[("version", "v2")], &[("host", "host-1"), ("zone", "a")]] {
            let selection = select(service, labels);
            same(subject.store(), model, &selection, range);
        }
    }
    let (after, expected) = (subject.store().stats().unwrap(), model.stats().unwrap());
    assert_eq!(after.samples_stored - before.samples_stored, expected.samples_stored);
    assert_eq!(after.batches_stored - before.batches_stored, expected.batches_stored);
    assert_eq!(after.duplicates - before.duplicates, expected.duplicates);
    assert_eq!(after.samples_taken - before.samples_taken, expected.samples_taken);
}

/// Asks both, and shows the first line that differs.
fn same(store: &dyn Store, model: &Model, selection: &Selection, range: TimeRange) {
    let (found, expected) = (answers(store, selection, range), answers(model, selection, range));
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "{selection:?} {range:?}");
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{selection:?} {range:?}");
}

fn apply(
    subject: &mut Subject,
    model: &Model,
    service: &str,
    (step, written): (&Step, &mut Vec<Sent>),
) {
    match step {
        Step::Write(sent) => {
            let mut sent = Sent::clone(sent);
            service.clone_into(&mut sent.service);
            sent.agent = format!("agent-of-{service}");
            sent.sequence = written.len() as u64 + 1;
            assert_eq!(sent.write(model).unwrap(), Written::Stored);
            assert_eq!(sent.write(subject.store()).unwrap(), Written::Stored);
            written.push(sent);
        }
        Step::Repeat(at, is_other_form) if !written.is_empty() => {
            let sent = written[at % written.len()].clone();
            let sent = if *is_other_form { sent.reversed() } else { sent };
            assert_eq!(sent.write(model).unwrap(), Written::Duplicate);
            assert_eq!(sent.write(subject.store()).unwrap(), Written::Duplicate);
        }
        Step::Known(at) if !written.is_empty() => {
            let mut sent = written[at % written.len()].clone();
            sent.sequence = written.len() as u64 + 1;
            assert_eq!(model.write(&known(&sent, model.hash_seed())).unwrap(), Written::Stored);
            let seed = subject.store().hash_seed();
            assert_eq!(subject.store().write(&known(&sent, seed)).unwrap(), Written::Stored);
            written.push(sent);
        }
        Step::Reopen => subject.reopen(),
        Step::Compact => {
            subject.store().compact(T0 + 400 * SECOND).unwrap();
        }
        Step::Repeat(..) | Step::Known(_) => {}
    }
}

/// The batch without the definitions of its stacks.
pub(crate) fn known(sent: &Sent, seed: u64) -> Arrival {
    let keys = Arrival::whole(sent.batch(), seed).unwrap().keys().to_vec();
    let mut batch = sent.batch();
    batch.stacks.clear();
    batch.frames.clear();
    Arrival::new(batch, keys, seed).unwrap()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => sent().prop_map(|sent| Step::Write(Box::new(sent))),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(at, form)| Step::Repeat(at, form)),
        2 => any::<usize>().prop_map(Step::Known),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compact),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let counts = proptest::collection::vec(0u64..50, 0..8);
    let who = (1u32..3, 1u32..3, 1u32..3);
    let reads = proptest::option::of((0u64..5, 0u64..3));
    let walks = (0u64..5, 0u64..5, any::<bool>());
    // Time goes forth and back in quarters of a window.
    (0u64..160, who, counts, reads, walks).prop_map(
        |(quarter, (version, host, unit), counts, reads, (whole, deep, is_labelled))| {
            let mut sent = Sent::new("", 0, T0 + quarter * SECOND * 5 / 2, &counts)
                .version(&format!("v{version}"))
                .on(&format!("host-{host}"), &format!("unit-{unit}"))
                .walks(&[("whole", whole), ("too deep", deep)])
                .label("kernel", "6.1");
            if is_labelled {
                sent = sent.label("executable", "sh");
            }
            Sent { reads, lost: deep, ..sent }
        },
    )
}
