//! Instructions one by one, and what makes no sense.

use super::*;

/// As compilers begin every function: CFA = rsp + 8, and the return address right below it.
const COMMON: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

fn rules_of(common: &[u8], instructions: &[u8]) -> Vec<(u64, Rule)> {
    let program = Program::new((1, -8), 16, Encoding::ABSOLUTE, common).unwrap();
    let mut found = Vec::new();
    program.run(instructions, (0, 0x1000), &mut Remembered::new(), &mut |address, rule| {
        found.push((address, rule));
        true
    });
    found
}

/// The rule after instructions that do not advance.
fn rule_of(instructions: &[u8]) -> Rule {
    rules_of(&COMMON, instructions).pop().unwrap().1
}

fn rule((cfa, cfa_offset): (u8, i32), (rbp, rbp_offset): (u8, i16)) -> Rule {
    Rule { cfa, rbp, rbp_offset, cfa_offset }
}

const RSP_8: (u8, i32) = (0x17, 8);
const SAME: (u8, i16) = (rbp::SAME, 0);
const LOST: (u8, i16) = (rbp::UNDEFINED, 0);

#[test]
fn every_instruction_does_what_its_name_says() {
    let cases: [(&str, &[u8], Rule); 27] = [
        ("nop", &[0x00], rule(RSP_8, SAME)),
        ("offset", &[0x86, 2], rule(RSP_8, (rbp::AT_CFA, -16))),
        ("offset, another register", &[0x83, 2], rule(RSP_8, SAME)),
        ("offset, too far", &[0x86, 0x81, 0x20], rule(RSP_8, LOST)),
        ("restore", &[0x86, 2, 0xc6], rule(RSP_8, SAME)),
        ("offset_extended", &[0x05, 6, 4], rule(RSP_8, (rbp::AT_CFA, -32))),
        ("restore_extended", &[0x86, 2, 0x06, 6], rule(RSP_8, SAME)),
        ("undefined", &[0x07, 6], rule(RSP_8, LOST)),
        ("undefined return address", &[0x07, 16], Rule::ROOT),
        ("same_value", &[0x86, 2, 0x08, 6], rule(RSP_8, SAME)),
        ("register", &[0x09, 6, 3], rule(RSP_8, LOST)),
        ("register, itself", &[0x09, 6, 6], rule(RSP_8, SAME)),
        ("return address in a register", &[0x0e, 0, 0x09, 16, 5], rule((0x37, 0), (0, 5))),
        ("return address elsewhere", &[0x90, 2], Rule::UNSUPPORTED),
        ("remember and restore", &[0x0a, 0x86, 2, 0x0e, 16, 0x0b], rule(RSP_8, SAME)),
        ("def_cfa", &[0x0c, 10, 0], rule((0x1a, 0), SAME)),
        ("def_cfa, no such register", &[0x0c, 17, 0], Rule::UNSUPPORTED),
        ("def_cfa_register", &[0x0e, 16, 0x0d, 6], rule((0x16, 16), SAME)),
        ("def_cfa_expression", &[0x0f, 3, 0x76, 0x78, 6], rule((0x26, 0xfff8), SAME)),
        ("def_cfa_expression, unknown", &[0x0f, 2, 0x30, 0x1f], Rule::UNSUPPORTED),
        ("expression", &[0x10, 6, 2, 0x76, 0], rule(RSP_8, (rbp::AT_RBP, 0))),
        ("expression by rsp", &[0x10, 6, 2, 0x77, 8], rule(RSP_8, (rbp::AT_RSP, 8))),
        ("offset_extended_sf", &[0x11, 6, 0x7e], rule(RSP_8, (rbp::AT_CFA, 16))),
        ("def_cfa_sf, def_cfa_offset_sf", &[0x12, 6, 0x7e, 0x13, 0x7d], rule((0x16, 24), SAME)),
        ("val_offset", &[0x14, 6, 2], rule(RSP_8, LOST)),
        ("val_offset_sf, val_expression", &[0x15, 6, 2, 0x16, 6, 1, 0x30], rule(RSP_8, LOST)),
        ("GNU", &[0x2e, 16, 0x2f, 6, 2], rule(RSP_8, (rbp::AT_CFA, 16))),
    ];
    for (name, instructions, expected) in cases {
        assert_eq!(rule_of(instructions), expected, "{name}");
    }
}

#[test]
fn every_kind_of_advance_moves_on() {
    let far = 0x1_0000_0000_u64.to_le_bytes();
    let set = 0x2_0000_0000_u64.to_le_bytes();
    let instructions = [
        &[0x41, 0x0e, 16, 0x02, 2, 0x0e, 24, 0x03, 0, 1, 0x0e, 32, 0x04, 0, 0, 1, 0][..],
        &[0x0e, 40, 0x1d],
        &far,
        &[0x0e, 48, 0x01],
        &set,
        &[0x0e, 56],
    ];
    let found = rules_of(&COMMON, &instructions.concat());
    let found: Vec<_> = found.iter().map(|(address, rule)| (*address, rule.cfa_offset)).collect();
    let far = 0x1_0001_1103;
    let set = 0x2_0000_0000;
    assert_eq!(
        found,
        [
            (0x1000, 8),
            (0x1001, 16),
            (0x1003, 24),
            (0x1103, 32),
            (0x1_1103, 40),
            (far, 48),
            (set, 56)
        ]
    );
}

#[test]
fn what_makes_no_sense_is_unsupported_from_there_on() {
    let no_such = [0x44, 0x3f];
    let cut_off = [0x44, 0x0c, 7];
    let backwards = [&[0x44, 0x01][..], &0x1000_u64.to_le_bytes()].concat();
    let nothing_remembered = [0x44, 0x0b];
    let too_deep = [&[0x44][..], &[0x0a; REMEMBERED_MAX + 1]].concat();
    let past_the_last_address = [&[0x44, 0x1d][..], &[0xff; 8]].concat();
    let half_a_rule = [0x44, 0x0f, 2, 0x30, 0x1f, 0x0e, 8];
    let cases = [
        &no_such[..],
        &cut_off,
        &backwards,
        &nothing_remembered,
        &too_deep,
        &past_the_last_address,
        &half_a_rule,
    ];
    for instructions in cases {
        let expected = [(0x1000, rule(RSP_8, SAME)), (0x1004, Rule::UNSUPPORTED)];
        assert_eq!(rules_of(&COMMON, instructions), expected, "{instructions:x?}");
    }
    assert_eq!(rule_of(&[0x0a; REMEMBERED_MAX]), rule(RSP_8, SAME));
}

#[test]
fn a_common_entry_that_advances_or_is_cut_off_is_refused() {
    for common in [&[0x0c, 7, 8, 0x41, 0x0e, 16][..], &[0x0c, 7]] {
        let program = Program::new((1, -8), 16, Encoding::ABSOLUTE, common);
        assert_eq!(program.err(), Some(Damaged));
    }
    assert_eq!(rules_of(&[0x0c, 7, 8], &[]), [(0x1000, Rule::UNSUPPORTED)]);
}

#[test]
fn the_frame_that_a_handler_returns_to_is_told_by_its_rules() {
    let cfa = [0x0f, 4, 0x77, 0xa0, 1, 6];
    let return_address = [0x10, 16, 3, 0x77, 0xa8, 1];
    assert_eq!(rule_of(&[cfa, return_address].concat()), Rule::SIGNAL);
    // Registers saved by hand elsewhere are no signal frame.
    assert_eq!(rule_of(&return_address), Rule::UNSUPPORTED);
}

#[test]
fn a_caller_that_has_seen_enough_is_not_called_again() {
    let program = Program::new((1, -8), 16, Encoding::ABSOLUTE, &COMMON).unwrap();
    let mut last = 0;
    let instructions = [0x41; 8];
    program.run(&instructions, (0, 0), &mut Remembered::new(), &mut |address, _| {
        last = address;
        address < 3
    });
    assert_eq!(last, 3);
}
