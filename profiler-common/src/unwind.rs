//! One step of an unwind, from a frame to its caller: the same code in the kernel and in host tests.
//!
//! It knows neither where the rule came from nor how memory is read. Formulas: System V ABI for x86-64, section 3.7, and
//! DWARF 5, section 6.4.

use crate::abi::row::{DWARF_RBP, DWARF_RSP, Rule, cfa, rbp};
use crate::abi::sample::WalkEnd;

/// Reads what a frame left behind. The kernel reads the stack of the interrupted thread, tests a recording.
pub trait Memory {
    /// Reads 8 bytes of the user's memory; `None` where they cannot be read.
    fn word(&mut self, address: u64) -> Option<u64>;

    /// Reads a register of the innermost frame, by its DWARF number; `None` where it is not known.
    fn register(&mut self, number: u8) -> Option<u64>;
}

/// The registers of one frame that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Registers {
    /// Program counter: the exact place of an interrupted frame, else the return address.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Frame pointer, or whatever the program keeps there.
    pub rbp: u64,
    /// How this frame was left; see [`left`].
    pub left: u64,
}

/// How a frame was left: bits of [`Registers::left`].
pub mod left {
    /// The program counter is exact: the frame was interrupted. Without this bit it is a return address, and its rule is
    /// that of the call before it.
    pub const EXACT: u64 = 1;
    /// No signal came between this frame and the sample, so all registers that calls leave alone are known.
    pub const KNOWN: u64 = 2;
    /// By the sample itself.
    pub const SAMPLE: u64 = EXACT | KNOWN;
    /// By a signal.
    pub const SIGNAL: u64 = EXACT;
}

impl Registers {
    /// Whether the program counter is exact.
    #[must_use]
    #[inline(always)]
    pub const fn is_exact(&self) -> bool {
        self.left & left::EXACT != 0
    }

    /// Address whose rule holds for this frame.
    #[must_use]
    #[inline(always)]
    pub const fn rule_address(&self) -> u64 {
        if self.is_exact() { self.rip } else { self.rip.wrapping_sub(1) }
    }

    /// What a sample records for this frame. All but the first are read as return addresses, so an exact one that a
    /// signal interrupted is recorded as if it were that of a call one byte before.
    #[must_use]
    #[inline(always)]
    pub const fn recorded_address(&self) -> u64 {
        if self.left == left::SIGNAL { self.rip.wrapping_add(1) } else { self.rip }
    }

    /// The frame that called this one.
    #[inline(always)]
    const fn caller(&self, rip: u64, rsp: u64, rbp: u64) -> Result<Self, WalkEnd> {
        // A return address of zero is what thread entries push to mark the root.
        if rip == 0 {
            return Err(WalkEnd::Root);
        }
        Ok(Self { rip, rsp, rbp, left: self.left & left::KNOWN })
    }
}

/// Bytes from the stack pointer of a signal's return trampoline to the saved registers, by the layout of
/// `struct rt_sigframe` after its return address was popped: flags, link, stack, and `struct sigcontext`.
const SIGNAL_RBP: u64 = 40 + 8 * 10;
const SIGNAL_RSP: u64 = 40 + 8 * 15;
const SIGNAL_RIP: u64 = 40 + 8 * 16;

/// Largest distance that a chain of frame pointers may leap; a larger one is no frame.
const FRAME_BYTES_MAX: u64 = 1 << 20;

/// Stands for a frame pointer that is lost. It is no address of a word, so nothing is read by it, and it marks no root.
const RBP_LOST: u64 = 1;

/// Largest frame whose CFA is kept in a register that calls may change: hand-written assembly does so around calls of its
/// own helpers, which leave the register alone, with frames of at most some pages.
const ODD_FRAME_BYTES_MAX: u64 = 64 << 10;

/// Goes to the caller by a rule; without one by the frame pointer.
///
/// # Errors
///
/// How the walk ends: at its root, or why no caller can be told.
#[inline(always)]
pub fn step(rule: Rule, frame: &Registers, memory: &mut impl Memory) -> Result<Registers, WalkEnd> {
    match rule.cfa {
        cfa::NONE => step_by_frame_pointer(frame, memory),
        cfa::ROOT => Err(WalkEnd::Root),
        cfa::SIGNAL => step_over_signal(frame, memory),
        _ => step_by_rule(rule, frame, memory),
    }
}

#[inline(always)]
fn step_by_rule(
    rule: Rule,
    frame: &Registers,
    memory: &mut impl Memory,
) -> Result<Registers, WalkEnd> {
    let cfa = canonical_frame_address(rule, frame, memory)?;
    if rule.cfa & cfa::FORM_MASK == cfa::RETURN_IN_REGISTER {
        let rip = register(rule.rbp_offset as u8, frame, memory)?;
        return frame.caller(rip, cfa, frame.rbp);
    }
    // A frame takes at least its return address. But one whose rbp is the base of all may have been called on another
    // stack, which lies anywhere.
    let is_anywhere = rule.cfa == cfa::REGISTER | DWARF_RBP && rule.rbp == rbp::AT_RBP;
    if cfa <= frame.rsp && !is_anywhere {
        return Err(WalkEnd::Stuck);
    }
    let rbp_base = match rule.rbp {
        rbp::SAME => return climb(frame, cfa, frame.rbp, memory),
        rbp::AT_CFA => cfa,
        rbp::AT_RBP => frame.rbp,
        rbp::AT_RSP => frame.rsp,
        _ => return climb(frame, cfa, RBP_LOST, memory),
    };
    let rbp_at = rbp_base.wrapping_add(i64::from(rule.rbp_offset) as u64);
    let rbp = memory.word(rbp_at).ok_or(WalkEnd::Unreadable)?;
    climb(frame, cfa, rbp, memory)
}

#[inline(always)]
fn canonical_frame_address(
    rule: Rule,
    frame: &Registers,
    memory: &mut impl Memory,
) -> Result<u64, WalkEnd> {
    if rule.cfa == cfa::PLT {
        let pushed = (frame.rip & 15) >= rule.cfa_offset as u64;
        return Ok(frame.rsp.wrapping_add(if pushed { 16 } else { 8 }));
    }
    let base = register(rule.cfa & !cfa::FORM_MASK, frame, memory)?;
    match rule.cfa & cfa::FORM_MASK {
        cfa::REGISTER | cfa::RETURN_IN_REGISTER => {
            Ok(base.wrapping_add(i64::from(rule.cfa_offset) as u64))
        }
        cfa::DEREF => {
            let (o, a) = cfa::deref_offsets(rule.cfa_offset);
            let at = base.wrapping_add(i64::from(o) as u64);
            let read = memory.word(at).ok_or(WalkEnd::Unreadable)?;
            Ok(read.wrapping_add(i64::from(a) as u64))
        }
        _ => Err(WalkEnd::UnsupportedRule),
    }
}

/// The caller of a frame whose CFA and saved rbp are known.
#[inline(always)]
fn climb(
    frame: &Registers,
    cfa: u64,
    rbp: u64,
    memory: &mut impl Memory,
) -> Result<Registers, WalkEnd> {
    let rip = memory.word(cfa.wrapping_sub(8)).ok_or(WalkEnd::Unreadable)?;
    frame.caller(rip, cfa, rbp)
}

/// A frame pointer of zero marks the root, unless the frame itself may use the register otherwise.
#[inline(always)]
fn step_by_frame_pointer(
    frame: &Registers,
    memory: &mut impl Memory,
) -> Result<Registers, WalkEnd> {
    if frame.rbp == 0 && !frame.is_exact() {
        return Err(WalkEnd::Root);
    }
    let leap = frame.rbp.wrapping_sub(frame.rsp);
    if leap > FRAME_BYTES_MAX || frame.rbp & 7 != 0 {
        return Err(WalkEnd::FramePointerLost);
    }
    let rbp = memory.word(frame.rbp).ok_or(WalkEnd::FramePointerLost)?;
    climb(frame, frame.rbp.wrapping_add(16), rbp, memory)
}

/// The frame below the one that a signal interrupted; its stack may lie anywhere.
#[inline(always)]
fn step_over_signal(frame: &Registers, memory: &mut impl Memory) -> Result<Registers, WalkEnd> {
    let mut saved = |at: u64| memory.word(frame.rsp.wrapping_add(at)).ok_or(WalkEnd::Unreadable);
    let (rbp, rsp, rip) = (saved(SIGNAL_RBP)?, saved(SIGNAL_RSP)?, saved(SIGNAL_RIP)?);
    if rip == 0 {
        return Err(WalkEnd::Root);
    }
    Ok(Registers { rip, rsp, rbp, left: left::SIGNAL })
}

/// A register of the frame, as far as it is known.
#[inline(always)]
fn register(number: u8, frame: &Registers, memory: &mut impl Memory) -> Result<u64, WalkEnd> {
    match number {
        DWARF_RSP => Ok(frame.rsp),
        DWARF_RBP => Ok(frame.rbp),
        _ if frame.left & left::KNOWN == 0 => Err(WalkEnd::UnsupportedRule),
        _ => {
            let value = memory.register(number).ok_or(WalkEnd::UnsupportedRule)?;
            // A callee that did use the register left some other number there.
            let is_near = value.wrapping_sub(frame.rsp) <= ODD_FRAME_BYTES_MAX;
            if is_near || frame.is_exact() { Ok(value) } else { Err(WalkEnd::UnsupportedRule) }
        }
    }
}

/// Index of the last of `count` sorted entries that is not above what is sought, as `is_above` tells; 0 where all are.
/// At most `steps` halvings, enough for 2^`steps` - 1 entries.
#[inline(always)]
pub fn find_last(count: u32, steps: u32, mut is_above: impl FnMut(u32) -> bool) -> u32 {
    let (mut first, mut left) = (0, count);
    for _ in 0..steps {
        if left <= 1 {
            break;
        }
        let half = left / 2;
        if !is_above(first + half) {
            first += half;
        }
        left -= half;
    }
    first
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A stack of few words, and the registers of the innermost frame.
    #[derive(Default)]
    struct Recorded {
        words: HashMap<u64, u64>,
        registers: HashMap<u8, u64>,
    }

    impl Memory for Recorded {
        fn word(&mut self, address: u64) -> Option<u64> {
            self.words.get(&address).copied()
        }

        fn register(&mut self, number: u8) -> Option<u64> {
            self.registers.get(&number).copied()
        }
    }

    fn memory(words: &[(u64, u64)]) -> Recorded {
        Recorded { words: words.iter().copied().collect(), registers: HashMap::new() }
    }

    fn sampled(rip: u64, rsp: u64, rbp: u64) -> Registers {
        Registers { rip, rsp, rbp, left: left::SAMPLE }
    }

    fn called(rip: u64, rsp: u64, rbp: u64) -> Registers {
        Registers { rip, rsp, rbp, left: left::KNOWN }
    }

    fn by_rsp(cfa_offset: i32) -> Rule {
        Rule { cfa: cfa::REGISTER | DWARF_RSP, cfa_offset, ..Rule::NONE }
    }

    #[test]
    fn the_return_address_is_read_below_the_cfa() {
        let caller = step(by_rsp(24), &sampled(1, 0x100, 9), &mut memory(&[(0x110, 77)]));
        assert_eq!(caller, Ok(called(77, 0x118, 9)));
    }

    #[test]
    fn a_saved_frame_pointer_is_read_from_each_place() {
        let words = [(0x118, 77), (0x108, 5), (0x210, 6), (0x101, 7)];
        for (place, offset, rbp) in [
            (rbp::AT_CFA, -24, 5),
            (rbp::AT_RBP, 16, 6),
            (rbp::AT_RSP, 1, 7),
            (rbp::SAME, 0, 0x200),
            (rbp::UNDEFINED, 0, RBP_LOST),
        ] {
            let rule = Rule { rbp: place, rbp_offset: offset, ..by_rsp(32) };
            let caller = step(rule, &sampled(1, 0x100, 0x200), &mut memory(&words));
            assert_eq!(caller, Ok(called(77, 0x120, rbp)), "{place}");
        }
    }

    #[test]
    fn a_plt_entry_has_pushed_its_index_from_its_middle_on() {
        let rule = Rule { cfa: cfa::PLT, cfa_offset: 11, ..Rule::NONE };
        let mut words = memory(&[(0x100, 1), (0x108, 2)]);
        assert_eq!(step(rule, &sampled(0x40_00a, 0x100, 0), &mut words).map(|it| it.rip), Ok(1));
        assert_eq!(step(rule, &sampled(0x40_00b, 0x100, 0), &mut words).map(|it| it.rip), Ok(2));
    }

    #[test]
    fn a_cfa_is_read_from_where_the_frame_keeps_it() {
        let rule =
            Rule { cfa: cfa::DEREF | DWARF_RBP, cfa_offset: cfa::deref(-8, 16), ..Rule::NONE };
        let mut words = memory(&[(0x1f8, 0x300), (0x308, 77)]);
        assert_eq!(step(rule, &called(1, 0x100, 0x200), &mut words), Ok(called(77, 0x310, 0x200)));
    }

    #[test]
    fn other_registers_are_believed_until_a_signal_or_nonsense() {
        let rule = Rule { cfa: cfa::REGISTER | 10, cfa_offset: 8, ..Rule::NONE };
        let mut words = memory(&[(0x300, 77), (0x80_0000, 77)]);
        words.registers.insert(10, 0x300);
        assert_eq!(step(rule, &sampled(1, 0x100, 0), &mut words), Ok(called(77, 0x308, 0)));
        assert_eq!(step(rule, &called(1, 0x100, 0), &mut words), Ok(called(77, 0x308, 0)));
        for left in [left::SIGNAL, 0] {
            let frame = Registers { left, ..called(1, 0x100, 0) };
            assert_eq!(step(rule, &frame, &mut words), Err(WalkEnd::UnsupportedRule));
        }
        words.registers.insert(10, 0x80_0000);
        assert_eq!(step(rule, &called(1, 0x100, 0), &mut words), Err(WalkEnd::UnsupportedRule));
    }

    #[test]
    fn a_return_address_in_a_register_takes_no_stack() {
        let rule = Rule {
            cfa: cfa::RETURN_IN_REGISTER | DWARF_RSP,
            rbp_offset: 5,
            cfa_offset: 0,
            ..Rule::NONE
        };
        let mut words = memory(&[]);
        words.registers.insert(5, 77);
        assert_eq!(step(rule, &sampled(1, 0x100, 4), &mut words), Ok(called(77, 0x100, 4)));
    }

    #[test]
    fn a_signal_frame_leads_to_the_exact_place_on_whatever_stack() {
        let words = [(0x100 + 120, 0x20), (0x100 + 160, 0x10), (0x100 + 168, 77)];
        let caller = step(Rule::SIGNAL, &called(1, 0x100, 9), &mut memory(&words));
        let expected = Registers { rip: 77, rsp: 0x10, rbp: 0x20, left: left::SIGNAL };
        assert_eq!(caller, Ok(expected));
        assert_eq!((expected.rule_address(), called(77, 0, 0).rule_address()), (77, 76));
        assert_eq!((expected.recorded_address(), called(77, 0, 0).recorded_address()), (78, 77));
    }

    #[test]
    fn a_frame_that_keeps_its_own_base_may_come_from_a_lower_stack() {
        let words = &[(0x108, 77), (0x100, 5)];
        let kept = Rule { cfa: cfa::REGISTER | DWARF_RBP, cfa_offset: 16, ..by_rsp(0) };
        let anywhere = Rule { rbp: rbp::AT_RBP, ..kept };
        let caller = step(anywhere, &called(1, 0x9000, 0x100), &mut memory(words));
        assert_eq!(caller, Ok(called(77, 0x110, 5)));
        let usual = Rule { rbp: rbp::AT_CFA, rbp_offset: -16, ..kept };
        let stuck = step(usual, &called(1, 0x9000, 0x100), &mut memory(words));
        assert_eq!(stuck, Err(WalkEnd::Stuck));
    }

    #[test]
    fn roots_are_told_from_dead_ends() {
        let zero = &mut memory(&[(0x100, 0)]);
        assert_eq!(step(Rule::ROOT, &called(1, 0x100, 0), zero), Err(WalkEnd::Root));
        assert_eq!(step(by_rsp(8), &called(1, 0x100, 0), zero), Err(WalkEnd::Root));
        assert_eq!(step(by_rsp(0), &called(1, 0x100, 0), zero), Err(WalkEnd::Stuck));
        assert_eq!(step(by_rsp(80), &called(1, 0x100, 0), zero), Err(WalkEnd::Unreadable));
        let unsupported = step(Rule::UNSUPPORTED, &called(1, 0x100, 0), zero);
        assert_eq!(unsupported, Err(WalkEnd::UnsupportedRule));
    }

    #[test]
    fn a_chain_of_frame_pointers_ends_at_zero_or_is_lost() {
        let mut words = memory(&[(0x200, 0x300), (0x208, 77)]);
        let next = step(Rule::NONE, &called(1, 0x100, 0x200), &mut words);
        assert_eq!(next, Ok(called(77, 0x210, 0x300)));
        let mut end = |frame| step(Rule::NONE, &frame, &mut words).expect_err("it ends");
        assert_eq!(end(called(1, 0x100, 0)), WalkEnd::Root);
        assert_eq!(end(sampled(1, 0x100, 0)), WalkEnd::FramePointerLost, "a leaf may use rbp");
        assert_eq!(end(called(1, 0x210, 0x200)), WalkEnd::FramePointerLost, "down the stack");
        assert_eq!(end(called(1, 0, RBP_LOST)), WalkEnd::FramePointerLost, "lost by a rule");
        assert_eq!(end(called(1, 0x100, 0x204)), WalkEnd::FramePointerLost, "not aligned");
        assert_eq!(end(called(1, 0x100, 0x400)), WalkEnd::FramePointerLost, "not readable");
    }

    proptest! {
        #[test]
        fn the_search_finds_the_last_entry_not_above(
            mut entries in proptest::collection::vec(any::<u16>(), 1..300), sought in any::<u16>()
        ) {
            entries.sort_unstable();
            let count = entries.len() as u32;
            let found = find_last(count, 16, |at| entries[at as usize] > sought);
            let expected = entries.partition_point(|entry| *entry <= sought).saturating_sub(1);
            prop_assert_eq!(found as usize, expected);
        }

        #[test]
        fn any_rule_on_any_registers_ends_or_climbs(
            bytes in any::<[u8; 8]>(), rip in any::<u64>(), rsp in any::<u64>(), rbp in any::<u64>(),
            left in 0u64..4, word in any::<u64>()
        ) {
            let [cfa, rbp_rule, low, high, rest @ ..] = bytes;
            let rule = Rule {
                cfa,
                rbp: rbp_rule,
                rbp_offset: i16::from_ne_bytes([low, high]),
                cfa_offset: i32::from_ne_bytes(rest),
            };
            let frame = Registers { rip, rsp, rbp, left };
            struct Constant(u64);
            impl Memory for Constant {
                fn word(&mut self, _address: u64) -> Option<u64> { Some(self.0) }
                fn register(&mut self, _number: u8) -> Option<u64> { Some(self.0) }
            }
            if let Ok(caller) = step(rule, &frame, &mut Constant(word)) {
                prop_assert_ne!(caller.rip, 0);
                let leaps = cfa == cfa::SIGNAL || cfa & cfa::FORM_MASK == cfa::RETURN_IN_REGISTER;
                prop_assert!(leaps || caller.rsp > rsp);
            }
        }
    }
}
