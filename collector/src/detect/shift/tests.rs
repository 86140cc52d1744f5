//! Work that moved is told from work that grew.

use super::super::groups::tests::{judged, service};
use super::super::{Cause, Direction, Group, Judgement, ShiftKind};

type Stacks = Vec<(&'static str, f64)>;

/// The service with some stacks replaced by others.
fn replaced(gone: &[&str], come: &[(&'static str, f64)]) -> Stacks {
    let stays = service().into_iter().filter(|(stack, _)| !gone.contains(stack));
    stays.chain(come.iter().copied()).collect()
}

/// The shift of every group for the worse.
fn check(judgement: &Judgement, kind: ShiftKind, partner: &str) {
    let worse: Vec<&Group> =
        judgement.groups.iter().filter(|group| group.direction == Direction::Worse).collect();
    assert!(!worse.is_empty());
    for group in worse {
        let Cause::CostShift(shift) = &group.cause else { panic!("{group:#?}") };
        assert_eq!(shift.kind, kind, "{group:#?}");
        assert!(shift.partners.iter().any(|name| name == partner), "{group:#?}");
        assert!(shift.net_low < 0.01 && shift.net_high > -0.01, "{shift:?}");
        assert!(!group.is_regression());
    }
}

#[test]
fn a_rename_is_told_with_its_partner() {
    let after = replaced(&["main;serve;find;rank"], &[("main;serve;find;order", 0.12)]);
    check(&judged(&service(), &after), ShiftKind::Rename, "rank");
}

#[test]
fn a_helper_taken_out_of_a_function_is_a_move() {
    let come = [("main;serve;find;rank", 0.05), ("main;serve;find;rank;compare", 0.07)];
    let after = replaced(&["main;serve;find;rank"], &come);
    check(&judged(&service(), &after), ShiftKind::Move, "rank");
}

#[test]
fn a_function_that_became_part_of_its_caller_is_inlined() {
    let gone = ["main;serve;buy;price", "main;serve;buy;price;tax"];
    let after = replaced(&gone, &[("main;serve;buy;price", 0.13)]);
    check(&judged(&service(), &after), ShiftKind::Inline, "tax");
}

#[test]
fn one_function_that_became_two_is_split() {
    let come = [("main;serve;find;score", 0.07), ("main;serve;find;order", 0.05)];
    let after = replaced(&["main;serve;find;rank"], &come);
    check(&judged(&service(), &after), ShiftKind::Split, "rank");
}

#[test]
fn two_functions_that_became_one_are_merged() {
    let gone = ["main;serve;buy;price;round", "main;serve;buy;price;tax"];
    let after = replaced(&gone, &[("main;serve;buy;price;total", 0.12)]);
    check(&judged(&service(), &after), ShiftKind::Merge, "round");
}

#[test]
fn a_function_that_is_renamed_and_grows_is_a_change() {
    let after = replaced(&["main;serve;find;rank"], &[("main;serve;find;order", 0.15)]);
    let judgement = judged(&service(), &after);
    let is_change = |group: &Group| group.is_regression() && group.suspects[0] == "order";
    assert!(judgement.groups.iter().any(is_change), "{:#?}", judgement.groups);
}

#[test]
fn a_new_function_beside_one_that_stays_is_a_change() {
    let after = replaced(&[], &[("main;serve;find;audit", 0.05)]);
    let judgement = judged(&service(), &after);
    assert!(judgement.groups.iter().any(Group::is_regression), "{:#?}", judgement.groups);
}

#[test]
fn growth_far_from_what_shrank_is_a_change() {
    let gone = ["main;serve;find;rank", "main;serve;buy;price;tax"];
    let come = [("main;serve;find;rank", 0.07), ("main;serve;buy;price;tax", 0.10)];
    let judgement = judged(&service(), &replaced(&gone, &come));
    let causes: Vec<&Cause> = judgement.groups.iter().map(|group| &group.cause).collect();
    assert_eq!(causes, [&Cause::Change, &Cause::Change]);
}
