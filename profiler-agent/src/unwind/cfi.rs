//! Runs the call frame instructions of one function: which rule holds from which address on.
//!
//! Of all registers only the CFA, rbp and the return address are followed; the walk needs no others. Instructions: DWARF
//! 5, sections 6.4.2 and 7.24, and those of GNU in the Linux Standard Base.

use profiler_common::abi::row::{DWARF_RBP, DWARF_RSP, Rule, cfa, rbp};

use super::bytes::Cursor;
use super::expression::{self, Expression};
use super::pointer::{self, Encoding};

/// Most states that instructions may remember at once; compilers nest one or two.
const REMEMBERED_MAX: usize = 16;

/// Highest number of a general register.
const REGISTER_MAX: u64 = 15;

/// Where the return address lies, from the CFA.
const RETURN_OFFSET: i64 = -8;

/// What describes the frame of a signal handler's caller: its stack pointer and return address in the `ucontext` above
/// the trampoline's stack pointer.
const SIGNAL_CFA: Cfa = Cfa::Deref(DWARF_RSP, 160, 0);
const SIGNAL_RETURN: Saved = Saved::At(DWARF_RSP, 168);

/// How the CFA is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cfa {
    Register(u64, i64),
    Deref(u8, i64, u64),
    Plt(u8),
    Unknown,
}

/// Where the caller's value of a register is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saved {
    /// In the register itself.
    Same,
    /// At CFA + offset.
    AtCfa(i64),
    /// At register + offset.
    At(u8, i64),
    /// In another register.
    InRegister(u64),
    Undefined,
    Unknown,
}

/// The rules at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    cfa: Cfa,
    rbp: Saved,
    return_address: Saved,
}

impl State {
    /// Before any instruction.
    const NEW: Self = Self { cfa: Cfa::Unknown, rbp: Saved::Same, return_address: Saved::Same };

    /// The rule for the kernel.
    fn rule(&self) -> Rule {
        match self.return_address {
            Saved::AtCfa(RETURN_OFFSET) => self.usual_rule(),
            Saved::Undefined => Rule::ROOT,
            Saved::InRegister(register) => self.rule_with_return_in(register),
            SIGNAL_RETURN if self.cfa == SIGNAL_CFA => Rule::SIGNAL,
            _ => Rule::UNSUPPORTED,
        }
    }

    fn usual_rule(&self) -> Rule {
        let computed = match self.cfa {
            Cfa::Register(register, offset) => register_form(cfa::REGISTER, register, offset),
            Cfa::Deref(register, first, second) => deref_form(register, first, second),
            Cfa::Plt(pushed_from) => Some((cfa::PLT, i32::from(pushed_from))),
            Cfa::Unknown => None,
        };
        let Some((cfa, cfa_offset)) = computed else { return Rule::UNSUPPORTED };
        let (rbp, rbp_offset) = self.rbp_rule();
        Rule { cfa, rbp, rbp_offset, cfa_offset }
    }

    fn rbp_rule(&self) -> (u8, i16) {
        let at = |base, offset: i64| match i16::try_from(offset) {
            Ok(offset) => (base, offset),
            Err(_too_far) => (rbp::UNDEFINED, 0),
        };
        match self.rbp {
            Saved::Same | Saved::InRegister(RBP) => (rbp::SAME, 0),
            Saved::AtCfa(offset) => at(rbp::AT_CFA, offset),
            Saved::At(DWARF_RBP, offset) => at(rbp::AT_RBP, offset),
            Saved::At(DWARF_RSP, offset) => at(rbp::AT_RSP, offset),
            _ => (rbp::UNDEFINED, 0),
        }
    }

    fn rule_with_return_in(&self, register: u64) -> Rule {
        let computed = match self.cfa {
            Cfa::Register(base, offset) => register_form(cfa::RETURN_IN_REGISTER, base, offset),
            _ => None,
        };
        match computed {
            Some((cfa, cfa_offset)) if self.rbp == Saved::Same && register <= REGISTER_MAX => {
                Rule { cfa, rbp: rbp::SAME, rbp_offset: register as i16, cfa_offset }
            }
            _ => Rule::UNSUPPORTED,
        }
    }
}

fn register_form(form: u8, register: u64, offset: i64) -> Option<(u8, i32)> {
    (register <= REGISTER_MAX).then_some((form | register as u8, i32::try_from(offset).ok()?))
}

fn deref_form(register: u8, first: i64, second: u64) -> Option<(u8, i32)> {
    let packed = cfa::deref(i16::try_from(first).ok()?, i16::try_from(second).ok()?);
    Some((cfa::DEREF | register, packed))
}

const RBP: u64 = DWARF_RBP as u64;

/// States that were remembered; kept from function to function, so that none allocates.
pub(super) type Remembered = Vec<State>;

/// What the instructions of a function are run with.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Bytes of code that an advance of one stands for.
    pub code_align: u64,
    /// What offsets are multiplied with.
    pub data_align: i64,
    /// Number of the column of the return address.
    pub return_register: u64,
    /// How addresses are written.
    pub encoding: Encoding,
    /// Whether functions have augmentation data before their instructions.
    pub has_augmentation: bool,
    /// State at the start of each function.
    pub initial: State,
}

/// The instructions make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

impl Program {
    /// Prepares for functions that all start with `instructions`.
    ///
    /// # Errors
    ///
    /// When the instructions make no sense.
    pub(super) fn new(
        (code_align, data_align): (u64, i64),
        return_register: u64,
        encoding: Encoding,
        instructions: &[u8],
    ) -> Result<Self, Damaged> {
        let initial = State::NEW;
        let has_augmentation = false;
        let mut program =
            Self { code_align, data_align, return_register, encoding, has_augmentation, initial };
        let mut remembered = Remembered::new();
        let mut run =
            Run { program: &program, state: initial, address: 0, remembered: &mut remembered };
        let mut moved = false;
        run.all(instructions, 0, &mut |_, _| {
            moved = true;
            true
        })?;
        let state = run.state;
        program.initial = state;
        if moved { Err(Damaged) } else { Ok(program) }
    }

    /// Runs the instructions of the function that starts at `start`. Gives `emit` each address from which a rule holds,
    /// in ascending order, until it returns false. `position` is the address of the instructions. From the first one
    /// that makes no sense on, the rule is `UNSUPPORTED`.
    #[inline]
    pub(super) fn run(
        &self,
        instructions: &[u8],
        (position, start): (u64, u64),
        remembered: &mut Remembered,
        emit: &mut impl FnMut(u64, Rule) -> bool,
    ) {
        remembered.clear();
        let mut run = Run { program: self, state: self.initial, address: start, remembered };
        let rule = match run.all(instructions, position, emit) {
            Ok(()) => run.state.rule(),
            Err(Damaged) => Rule::UNSUPPORTED,
        };
        emit(run.address, rule);
    }
}

/// The state of a run.
struct Run<'p> {
    program: &'p Program,
    state: State,
    address: u64,
    remembered: &'p mut Remembered,
}

impl Run<'_> {
    #[inline]
    fn all(
        &mut self,
        instructions: &[u8],
        position: u64,
        emit: &mut impl FnMut(u64, Rule) -> bool,
    ) -> Result<(), Damaged> {
        let mut at = Cursor::new(instructions);
        while let Some(opcode) = at.u8() {
            let operand = u64::from(opcode & 0x3f);
            let step = match opcode >> 6 {
                1 => operand.saturating_mul(self.program.code_align),
                2 => {
                    let offset = at.unsigned().ok_or(Damaged)?;
                    self.save_factored(operand, offset.cast_signed());
                    continue;
                }
                3 => {
                    self.restore(operand);
                    continue;
                }
                _ => match opcode {
                    0x00 => continue,
                    0x01..=0x04 | 0x1d => {
                        let consumed = instructions.len() - at.rest().len();
                        let position = position.wrapping_add(consumed as u64);
                        self.far_step(opcode, &mut at, position).ok_or(Damaged)?
                    }
                    _ => {
                        self.extended(opcode, &mut at).ok_or(Damaged)?;
                        continue;
                    }
                },
            };
            let next = self.address.checked_add(step).ok_or(Damaged)?;
            if step > 0 && !emit(self.address, self.state.rule()) {
                return Ok(());
            }
            self.address = next;
        }
        Ok(())
    }

    /// Bytes of code that an instruction advances, for those with a long operand.
    fn far_step(&self, opcode: u8, at: &mut Cursor<'_>, position: u64) -> Option<u64> {
        let units = match opcode {
            0x01 => {
                let to = pointer::read(at, self.program.encoding, position)?;
                return to.checked_sub(self.address);
            }
            0x02 => u64::from(at.u8()?),
            0x03 => u64::from(at.u16()?),
            0x04 => u64::from(at.u32()?),
            _ => at.u64()?,
        };
        units.checked_mul(self.program.code_align)
    }

    /// The instructions with a whole byte for their number that do not advance.
    fn extended(&mut self, opcode: u8, at: &mut Cursor<'_>) -> Option<()> {
        match opcode {
            0x05 => {
                let (register, offset) = (at.unsigned()?, at.unsigned()?);
                self.save_factored(register, offset.cast_signed());
            }
            0x06 => self.restore(at.unsigned()?),
            0x07 => self.save(at.unsigned()?, Saved::Undefined),
            0x08 => self.save(at.unsigned()?, Saved::Same),
            0x09 => {
                let (register, other) = (at.unsigned()?, at.unsigned()?);
                self.save(register, Saved::InRegister(other));
            }
            0x0a if self.remembered.len() < REMEMBERED_MAX => self.remembered.push(self.state),
            0x0b => self.state = self.remembered.pop()?,
            0x0c..=0x0f | 0x12 | 0x13 => self.define_cfa(opcode, at)?,
            0x10 => {
                let register = at.unsigned()?;
                let saved = match expression::parse(block(at)?) {
                    Some(Expression::Register(base, offset)) => Saved::At(base, offset),
                    _ => Saved::Unknown,
                };
                self.save(register, saved);
            }
            0x11 => {
                let (register, offset) = (at.unsigned()?, at.signed()?);
                self.save_factored(register, offset);
            }
            0x14 | 0x15 => {
                let register = at.unsigned()?;
                at.unsigned()?;
                self.save(register, Saved::Unknown);
            }
            0x16 => {
                let register = at.unsigned()?;
                block(at)?;
                self.save(register, Saved::Unknown);
            }
            // The size of the arguments that a call pushed matters to exceptions only.
            0x2e => drop(at.unsigned()?),
            0x2f => {
                let (register, offset) = (at.unsigned()?, at.unsigned()?);
                self.save_factored(register, offset.cast_signed().checked_neg()?);
            }
            _ => return None,
        }
        Some(())
    }

    fn define_cfa(&mut self, opcode: u8, at: &mut Cursor<'_>) -> Option<()> {
        let factored = |offset: i64| offset.checked_mul(self.program.data_align);
        self.state.cfa = match (opcode, self.state.cfa) {
            (0x0c, _) => Cfa::Register(at.unsigned()?, i64::try_from(at.unsigned()?).ok()?),
            (0x12, _) => Cfa::Register(at.unsigned()?, factored(at.signed()?)?),
            (0x0d, Cfa::Register(_, offset)) => Cfa::Register(at.unsigned()?, offset),
            (0x0e, Cfa::Register(register, _)) => {
                Cfa::Register(register, i64::try_from(at.unsigned()?).ok()?)
            }
            (0x13, Cfa::Register(register, _)) => Cfa::Register(register, factored(at.signed()?)?),
            (0x0f, _) => match expression::parse(block(at)?) {
                Some(Expression::Register(register, offset)) => {
                    Cfa::Register(register.into(), offset)
                }
                Some(Expression::Deref(register, first, second)) => {
                    Cfa::Deref(register, first, second)
                }
                Some(Expression::Plt(pushed_from)) => Cfa::Plt(pushed_from),
                None => Cfa::Unknown,
            },
            // One half of a rule without the other.
            _ => return None,
        };
        Some(())
    }

    #[inline]
    fn save_factored(&mut self, register: u64, offset: i64) {
        if register == RBP || register == self.program.return_register {
            let at = offset.checked_mul(self.program.data_align);
            self.save(register, at.map_or(Saved::Unknown, Saved::AtCfa));
        }
    }

    #[inline]
    fn save(&mut self, register: u64, saved: Saved) {
        if register == RBP {
            self.state.rbp = saved;
        } else if register == self.program.return_register {
            self.state.return_address = saved;
        }
    }

    #[inline]
    fn restore(&mut self, register: u64) {
        if register == RBP {
            self.state.rbp = self.program.initial.rbp;
        } else if register == self.program.return_register {
            self.state.return_address = self.program.initial.return_address;
        }
    }
}

/// Takes a block of bytes with its length before it.
fn block<'b>(at: &mut Cursor<'b>) -> Option<&'b [u8]> {
    let length = at.unsigned()?;
    at.take(length)
}

#[cfg(test)]
#[path = "cfi_tests.rs"]
mod tests;
