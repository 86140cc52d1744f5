//! Batches as a collector that keeps to the rules of the format reads them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Rows of a batch by service and by the text of their stacks, in order.
type Rows = Vec<(String, Vec<String>, u64)>;

/// A collector's end of one session.
#[derive(Debug, Default, Clone)]
struct Reader {
    session: u64,
    last: u64,
    slots: BTreeMap<u32, Vec<String>>,
}

impl Reader {
    /// The rows of a push; `None` where it must ask for the whole.
    fn read(&mut self, request: &v1::PushRequest) -> Option<Rows> {
        let (batch, session) = (request.batch.as_ref()?, request.session.as_ref()?);
        if session.acknowledged == 0 && self.session != session.id {
            *self = Self { session: session.id, ..Self::default() };
        }
        let follows = session.acknowledged <= self.last && self.last < session.push;
        if session.id != self.session || !follows {
            return None;
        }
        let defined: Vec<Vec<String>> =
            batch.stacks.iter().map(|stack| text(batch, stack)).collect();
        let mut rows = Rows::new();
        for service in &batch.services {
            assert!(service.stacks.is_empty() && service.stack_steps.len() == service.counts.len());
            let mut reference = 0;
            for (step, count) in service.stack_steps.iter().zip(&service.counts) {
                reference += step;
                let stack = match defined.get(reference as usize) {
                    Some(stack) => stack.clone(),
                    None => self.slots.get(&(reference - defined.len() as u32))?.clone(),
                };
                rows.push((batch.strings[service.service as usize].clone(), stack, *count));
            }
        }
        self.last = session.push;
        for (stack, slot) in defined.into_iter().zip(&session.slots) {
            assert!((1..=SLOTS_MAX as u32).contains(slot));
            self.slots.insert(slot - 1, stack);
        }
        rows.sort();
        Some(rows)
    }
}

fn text(batch: &v1::Batch, stack: &v1::Stack) -> Vec<String> {
    let name = |frame: &u32| batch.strings[batch.frames[*frame as usize].function as usize].clone();
    stack.frames.iter().map(name).collect()
}

fn rows(batch: &v1::Batch) -> Rows {
    let mut rows = Rows::new();
    for service in &batch.services {
        for (stack, count) in service.stacks.iter().zip(&service.counts) {
            let stack = text(batch, &batch.stacks[*stack as usize]);
            rows.push((batch.strings[service.service as usize].clone(), stack, *count));
        }
    }
    rows.sort();
    rows
}

/// A batch whose stacks are `main;fN`, for each N once in each service.
fn batch(services: &[Vec<u32>]) -> v1::Batch {
    let mut batch = v1::Batch {
        strings: ["", "main", "host label", "unused"].map(str::to_owned).into(),
        frames: vec![v1::Frame { kind: 1, function: 1, ..Default::default() }],
        host_labels: vec![v1::Label { key: 2, value: 0 }],
        ..Default::default()
    };
    let mut known = BTreeMap::new();
    for (index, functions) in services.iter().enumerate() {
        batch.strings.push(format!("service {index}"));
        let service = number(batch.strings.len() - 1);
        let mut profile = v1::ServiceProfile { service, ..Default::default() };
        for function in functions {
            let stack = *known.entry(*function).or_insert_with(|| {
                batch.strings.push(format!("f{function}"));
                let function = number(batch.strings.len() - 1);
                batch.frames.push(v1::Frame { kind: 1, function, ..Default::default() });
                let frames = vec![0, number(batch.frames.len() - 1)];
                batch.stacks.push(v1::Stack { frames });
                number(batch.stacks.len() - 1)
            });
            profile.stacks.push(stack);
            profile.counts.push(u64::from(*function) + 1);
        }
        batch.services.push(profile);
    }
    batch
}

/// What happens to a push.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Stored,
    /// It never arrives.
    Lost,
    /// It is stored, and its answer does not arrive.
    Unanswered,
    /// It arrives after the next push.
    Late,
    /// The collector forgets the session before it arrives.
    Forgotten,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Stored),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unanswered),
        1 => Just(Fate::Late),
        1 => Just(Fate::Forgotten),
    ]
}

/// So few that they run out in most cases.
const FEW_SLOTS: usize = 6;

/// Up to three services with some of so many functions that not all have a slot.
fn services() -> impl Strategy<Value = Vec<Vec<u32>>> {
    let functions = proptest::collection::vec(0_u32..12, 0..7);
    proptest::collection::vec(functions, 0..3)
}

/// Sends a batch until it is acknowledged, with so many fates before it is stored; checks every reading.
fn send(dictionary: &mut Dictionary, reader: &mut Reader, batch: &v1::Batch, fates: &[Fate]) {
    let expected = rows(batch);
    let mut late: Option<v1::PushRequest> = None;
    for fate in fates.iter().chain([&Fate::Stored]) {
        let mut request = dictionary.write(batch);
        if matches!(fate, Fate::Forgotten) {
            *reader = Reader::default();
        }
        if matches!(fate, Fate::Late) {
            late = Some(request);
            continue;
        }
        if matches!(fate, Fate::Lost) {
            continue;
        }
        let mut read = reader.read(&request);
        if read.is_none() {
            dictionary.forget(request.session.unwrap().id + 1);
            request = dictionary.write(batch);
            read = reader.read(&request);
        }
        assert_eq!(read.as_ref(), Some(&expected), "{fate:?}");
        if let Some(late) = late.take() {
            assert!(reader.read(&late).is_none_or(|rows| rows == expected));
        }
        if matches!(fate, Fate::Stored | Fate::Forgotten) {
            dictionary.acknowledge();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_happens_to_pushes_the_collector_reads_the_batch_of_the_spool(
        batches in proptest::collection::vec(
            (services(), proptest::collection::vec(fate(), 0..4)), 1..16)
    ) {
        let mut dictionary = Dictionary::with_slots(9, 100, FEW_SLOTS);
        let mut reader = Reader::default();
        for (services, fates) in &batches {
            send(&mut dictionary, &mut reader, &batch(services), fates);
        }
        prop_assert!(dictionary.entries.len() <= FEW_SLOTS);
        prop_assert_eq!(dictionary.slots.len(), dictionary.entries.len());
    }
}

#[test]
fn a_stack_that_was_told_is_named_by_its_slot_alone() {
    let mut dictionary = Dictionary::new(9, 1);
    let whole = batch(&[vec![1, 2, 3]]);
    let first = dictionary.write(&whole).batch.unwrap();
    assert_eq!((first.stacks.len(), &first.services[0].stack_steps), (3, &vec![0, 1, 1]));
    dictionary.acknowledge();
    let second = dictionary.write(&whole);
    let (second, session) = (second.batch.unwrap(), second.session.unwrap());
    assert_eq!((second.stacks.len(), second.frames.len()), (0, 0));
    assert_eq!(second.strings, ["", "service 0", "host label"]);
    assert_eq!(session, v1::Session { id: 1, push: 2, acknowledged: 1, slots: Vec::new() });
    dictionary.forget(2);
    let third = dictionary.write(&whole);
    assert_eq!(third.batch.unwrap().stacks.len(), 3);
    assert_eq!(
        third.session.unwrap(),
        v1::Session { id: 2, push: 1, acknowledged: 0, slots: vec![1, 2, 3] }
    );
}

#[test]
fn without_an_answer_a_stack_keeps_its_slot_and_is_told_again() {
    let mut dictionary = Dictionary::new(9, 1);
    dictionary.write(&batch(&[vec![1]]));
    dictionary.write(&batch(&[vec![2]]));
    dictionary.acknowledge();
    let request = dictionary.write(&batch(&[vec![1, 2]]));
    let batch = request.batch.unwrap();
    assert_eq!(batch.stacks.len(), 1);
    assert_eq!(request.session.unwrap().slots, [1]);
    assert_eq!(batch.services[0].stack_steps, [0, 2]);
}

#[test]
fn the_stacks_that_were_not_used_for_longest_give_their_slots() {
    let mut dictionary = Dictionary::new(9, 1);
    let slots = SLOTS_MAX as u32;
    let mut told = |functions: std::ops::Range<u32>| {
        let request = dictionary.write(&batch(&[functions.collect()]));
        dictionary.acknowledge();
        request.batch.unwrap().stacks.len() as u32
    };
    assert_eq!(told(0..slots), slots);
    assert_eq!(told(0..slots - 10), 0);
    assert_eq!(told(slots..slots + 10), 10);
    assert_eq!(told(0..slots - 10), 0);
    assert_eq!(told(slots - 10..slots), 10);
    // More than there are slots: the rest is told each time.
    assert_eq!(told(100_000..100_000 + slots + 5), slots + 5);
    assert_eq!(told(100_000..100_000 + slots + 5), 5);
}

#[test]
fn a_batch_that_names_what_it_does_not_hold_goes_as_it_is() {
    let mut dictionary = Dictionary::new(9, 1);
    let mut bad = batch(&[vec![1]]);
    bad.stacks[0].frames.push(99);
    let request = dictionary.write(&bad);
    assert_eq!((request.batch, request.session), (Some(bad), None));
}
