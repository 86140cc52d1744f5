//! A Rust release build whose mix of calls is known; see `mix.h` for what it prints and how it works.

use std::cell::Cell;
use std::hint::black_box;

const STEPS_PER_UNIT: u64 = 3_000_000;

thread_local! {
    static SINK: Cell<u64> = const { Cell::new(1) };
}

/// One unit of work. Equal functions differ in the multiplier, so that they are not merged.
#[inline(always)]
fn unit(multiplier: u64) {
    let mut state = SINK.get();
    for step in 0..black_box(STEPS_PER_UNIT) {
        state = state.wrapping_mul(multiplier).wrapping_add(step);
    }
    SINK.set(state);
}

#[inline(never)]
fn decode_frame() {
    unit(6364136223846793005);
}

#[inline(never)]
fn route_message() {
    unit(3202034522624059733);
}

#[inline(never)]
fn write_reply() {
    unit(3935559000370003845);
}

#[inline(never)]
fn work_before_panic() {
    unit(4768777513237032717);
}

#[inline(never)]
fn work_in_drop() {
    unit(1181783497276652981);
}

#[inline(never)]
fn decode() {
    decode_frame();
    black_box(());
}

#[inline(never)]
fn serve_decode() {
    decode();
    black_box(());
}

trait Service {
    fn serve(&self);
}

struct Router;

impl Service for Router {
    #[inline(never)]
    fn serve(&self) {
        route_message();
        black_box(());
    }
}

#[inline(never)]
fn generic<F: Fn(), T>(call: F, rest: T) {
    call();
    black_box(rest);
}

#[inline(never)]
fn serve_route() {
    let service: Box<dyn Service> = black_box(Box::new(Router));
    service.serve();
    black_box(());
}

#[inline(never)]
fn serve_reply() {
    generic(black_box(write_reply as fn()), 7_u8);
    black_box(());
}

struct Guard;

impl Drop for Guard {
    #[inline(never)]
    fn drop(&mut self) {
        work_in_drop();
        black_box(());
    }
}

/// Without unwinding nothing panics, and the guard is dropped as usual.
#[inline(never)]
fn guarded() {
    {
        let _guard = Guard;
        work_before_panic();
        if cfg!(panic = "unwind") {
            std::panic::resume_unwind(black_box(Box::new("as planned")));
        }
    }
    black_box(());
}

#[inline(never)]
fn serve_guarded() {
    let _planned = std::panic::catch_unwind(guarded);
    black_box(());
}

/// Frames below `main`, number of cards, and what plays them; the card of the last chain plays both of the last two.
const CHAINS: &[(&str, usize, Option<fn()>)] = &[
    ("serve_decode;release::decode;release::decode_frame", 8, Some(serve_decode)),
    (
        "serve_route;<release::Router as release::Service>::serve;release::route_message",
        5,
        Some(serve_route),
    ),
    ("serve_reply;release::generic;release::write_reply", 3, Some(serve_reply)),
    ("serve_guarded;*;release::guarded;release::work_before_panic", 2, Some(serve_guarded)),
    (
        "serve_guarded;*;release::guarded;<release::Guard as core::ops::drop::Drop>::drop;release::work_in_drop",
        2,
        None,
    ),
];

fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn main() {
    for (frames, cards, _) in CHAINS {
        println!("truth _start;*;release::main;release::{frames} {cards}");
    }
    let mut deck: Vec<fn()> = CHAINS
        .iter()
        .flat_map(|(_, cards, play)| play.iter().flat_map(|play| std::iter::repeat_n(*play, *cards)))
        .collect();
    let mut random = 0x9e37_79b9_7f4a_7c15;
    loop {
        for last in (1..deck.len()).rev() {
            deck.swap(last, next_random(&mut random) as usize % (last + 1));
        }
        for play in &deck {
            play();
            black_box(());
        }
    }
}
