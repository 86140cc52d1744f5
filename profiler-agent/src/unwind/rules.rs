//! All rules of all tables, each once, under the number by which rows name it.

use std::collections::HashMap;

use profiler_common::abi::row::{
    RULE_NONE, RULE_ROOT, RULE_SIGNAL, RULE_UNSUPPORTED, RULES_FIXED, RULES_MAX, Rule,
};

use super::upload::Upload;

const _: () = assert!(RULE_SIGNAL + 1 == RULES_FIXED);

/// Number of each rule. Rules are never given up: programs on a host share most of them.
#[derive(Debug)]
pub(super) struct RuleBook {
    numbers: HashMap<Rule, u16>,
    /// Rules that found no room and count as unsupported.
    refused: u64,
}

impl RuleBook {
    /// Writes the fixed rules.
    pub(super) fn new(upload: &mut dyn Upload) -> Self {
        let fixed = [
            (RULE_NONE, Rule::NONE),
            (RULE_ROOT, Rule::ROOT),
            (RULE_UNSUPPORTED, Rule::UNSUPPORTED),
            (RULE_SIGNAL, Rule::SIGNAL),
        ];
        for (number, rule) in fixed {
            upload.write_rule(number, rule);
        }
        let numbers = fixed.into_iter().map(|(number, rule)| (rule, number)).collect();
        Self { numbers, refused: 0 }
    }

    /// The numbers of the rules of a table, in its order.
    pub(super) fn numbers_of(&mut self, rules: &[Rule], upload: &mut dyn Upload) -> Vec<u16> {
        rules.iter().map(|rule| self.number(*rule, upload)).collect()
    }

    /// Number of different rules.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// How many rules found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn number(&mut self, rule: Rule, upload: &mut dyn Upload) -> u16 {
        if let Some(known) = self.numbers.get(&rule) {
            return *known;
        }
        let Some(number) =
            u16::try_from(self.numbers.len()).ok().filter(|n| usize::from(*n) < RULES_MAX)
        else {
            self.refused += 1;
            return RULE_UNSUPPORTED;
        };
        upload.write_rule(number, rule);
        self.numbers.insert(rule, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use profiler_common::abi::row::cfa;

    use super::super::upload::memory::SharedMemory;
    use super::*;

    fn rule(offset: i32) -> Rule {
        Rule { cfa: cfa::REGISTER, cfa_offset: offset, ..Rule::NONE }
    }

    #[test]
    fn equal_rules_share_a_number_and_fixed_ones_keep_theirs() {
        let mut memory = SharedMemory::new(0);
        let mut book = RuleBook::new(&mut memory);
        let fixed = [Rule::NONE, Rule::ROOT, Rule::UNSUPPORTED, Rule::SIGNAL];
        assert_eq!(book.numbers_of(&fixed, &mut memory), [0, 1, 2, 3]);
        let numbers = book.numbers_of(&[rule(8), rule(16), rule(8)], &mut memory);
        assert_eq!(numbers, [RULES_FIXED, RULES_FIXED + 1, RULES_FIXED]);
        assert_eq!(memory.0.lock().unwrap().rules[usize::from(RULES_FIXED) + 1], rule(16));
    }

    #[test]
    fn a_full_book_says_that_further_rules_are_unsupported() {
        let mut memory = SharedMemory::new(0);
        let mut book = RuleBook::new(&mut memory);
        let rules: Vec<Rule> = (0..RULES_MAX as i32).map(rule).collect();
        let numbers = book.numbers_of(&rules, &mut memory);
        let room = RULES_MAX - usize::from(RULES_FIXED);
        assert_eq!(numbers[room - 1], u16::MAX);
        assert!(numbers[room..].iter().all(|number| *number == RULE_UNSUPPORTED));
        assert_eq!((book.len(), book.refused()), (RULES_MAX, u64::from(RULES_FIXED)));
    }
}
