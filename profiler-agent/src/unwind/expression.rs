//! The few DWARF expressions that compilers and linkers write into unwind information.
//!
//! Numbers of operations: DWARF 5, section 7.7.1.

use super::bytes::Cursor;

const OP_DEREF: u8 = 0x06;
const OP_AND: u8 = 0x1a;
const OP_PLUS: u8 = 0x22;
const OP_PLUS_UCONST: u8 = 0x23;
const OP_SHL: u8 = 0x24;
const OP_GE: u8 = 0x2a;
const OP_LIT0: u8 = 0x30;
const OP_LIT31: u8 = 0x4f;
const OP_BREG0: u8 = 0x70;
const OP_BREG15: u8 = 0x7f;

/// Linkers describe a procedure linkage table by one expression: rsp + 8 + ((rip & 15) >= n) << 3. Its operations stand
/// before and behind the number n.
const PLT_HEAD: [u8; 6] = [OP_BREG0 + 7, 8, OP_BREG0 + 16, 0, OP_LIT0 + 15, OP_AND];
const PLT_TAIL: [u8; 4] = [OP_GE, OP_LIT0 + 3, OP_SHL, OP_PLUS];

/// What an expression computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expression {
    /// Register + offset.
    Register(u8, i64),
    /// *(register + first) + second.
    Deref(u8, i64, u64),
    /// rsp + 8, and 8 more when the low 4 bits of the program counter are at least this.
    Plt(u8),
}

/// Recognizes an expression; `None` for all others.
pub(super) fn parse(bytes: &[u8]) -> Option<Expression> {
    if let Some(rest) = bytes.strip_prefix(&PLT_HEAD) {
        let (literal, tail) = rest.split_first()?;
        let is_plt = (OP_LIT0..=OP_LIT31).contains(literal) && tail == PLT_TAIL;
        return is_plt.then(|| Expression::Plt(literal - OP_LIT0));
    }
    let mut bytes = Cursor::new(bytes);
    let operation = bytes.u8()?;
    if !(OP_BREG0..=OP_BREG15).contains(&operation) {
        return None;
    }
    let (register, offset) = (operation - OP_BREG0, bytes.signed()?);
    if bytes.is_empty() {
        return Some(Expression::Register(register, offset));
    }
    if bytes.u8()? != OP_DEREF {
        return None;
    }
    if bytes.is_empty() {
        return Some(Expression::Deref(register, offset, 0));
    }
    let added = if bytes.u8()? == OP_PLUS_UCONST { bytes.unsigned()? } else { return None };
    bytes.is_empty().then_some(Expression::Deref(register, offset, added))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_linkers_and_compilers_are_recognized() {
        let plt = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(parse(&plt), Some(Expression::Plt(11)));
        assert_eq!(parse(&[0x76, 0x78]), Some(Expression::Register(6, -8)));
        assert_eq!(parse(&[0x77, 0xa0, 1, 0x06]), Some(Expression::Deref(7, 160, 0)));
        assert_eq!(parse(&[0x77, 40, 0x06, 0x23, 8]), Some(Expression::Deref(7, 40, 8)));
    }

    #[test]
    fn anything_before_between_or_behind_is_another_expression() {
        // rsp + 8 + r9 * 8, dereferenced: as OpenSSL has it.
        assert_eq!(parse(&[0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 0x06, 0x23, 8]), None);
        assert_eq!(parse(&[0x77, 8, 0x06, 0x23, 8, 0x06]), None);
        assert_eq!(parse(&[0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24]), None);
        assert_eq!(parse(&[0x77]), None);
        assert_eq!(parse(&[]), None);
    }
}
