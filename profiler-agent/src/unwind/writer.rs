//! Writes rules into the rows of a table, page by page.

use std::collections::HashMap;

use profiler_common::abi::row::{
    PAGE_BYTES, PAGE_ROWS_MAX, PAGE_SHIFT, RULE_NONE, RULE_UNSUPPORTED, RULES_FIXED, Rule, row,
};

/// Most rows of a table: 32 MiB. The largest browsers have about 4 million.
pub(super) const ROWS_MAX: usize = 1 << 23;

/// Most rules that are pushed, whether they become rows or not. It ends what would otherwise go on for as many steps as
/// there is code: descriptions that functions share.
const PUSHES_MAX: usize = 4 * ROWS_MAX;

/// Rules that are found without hashing them safely; a program has some hundred different ones.
const RECENT: usize = 1 << 8;

/// A table that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    page_count: u32,
    pages: Vec<u32>,
    rows: Vec<u32>,
    rules: Rules,
    /// The rule that holds since the last row.
    current: u16,
    pushes: usize,
    is_full: bool,
}

/// Pages, rows and rules of a table.
pub(super) type Lists = (Vec<u32>, Vec<u32>, Vec<Rule>);

/// Everything a table has too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Writer {
    /// Starts a table of so many pages.
    pub(super) fn new(page_count: u32) -> Self {
        Self {
            page_count,
            pages: Vec::with_capacity(page_count as usize + 1),
            rows: Vec::new(),
            rules: Rules::new(),
            current: RULE_NONE,
            pushes: 0,
            is_full: false,
        }
    }

    /// Lets a rule hold from an offset on, which must be above those before it. Past the last page, and once the table
    /// is full, nothing is written. Says whether there is room for more.
    #[inline]
    pub(super) fn push(&mut self, offset: u64, rule: Rule) -> bool {
        self.pushes += 1;
        let index = self.rules.index(rule);
        if self.pushes > PUSHES_MAX {
            self.is_full = true;
        } else if index != self.current && !self.is_full {
            self.write(offset, index);
        }
        !self.is_full
    }

    #[inline]
    fn write(&mut self, offset: u64, index: u16) {
        let (page, within) = ((offset >> PAGE_SHIFT) as u32, (offset & (PAGE_BYTES - 1)) as u16);
        if page >= self.page_count {
            return;
        }
        self.open(page, within > 0);
        let page_rows = self.rows.len() - self.pages.last().map_or(0, |first| *first as usize);
        if self.rows.len() >= ROWS_MAX || page_rows >= PAGE_ROWS_MAX {
            self.is_full = true;
            return;
        }
        self.rows.push(row(within, index));
        self.current = index;
    }

    /// Ends the table: gives pages, rows and rules.
    pub(super) fn finish(mut self) -> Result<Lists, Full> {
        self.current = RULE_NONE;
        if let Some(last) = self.page_count.checked_sub(1) {
            self.open(last, false);
        }
        self.pages.push(self.rows.len() as u32);
        self.rows.shrink_to_fit();
        if self.is_full { Err(Full) } else { Ok((self.pages, self.rows, self.rules.all)) }
    }

    /// Begins all pages up to this one. Each begins with the rule that holds; this one only if `is_entered` before its
    /// next row.
    #[inline]
    fn open(&mut self, page: u32, is_entered: bool) {
        while self.pages.len() <= page as usize {
            let is_last = self.pages.len() == page as usize;
            self.pages.push(self.rows.len() as u32);
            if is_last && is_entered || !is_last && self.current != RULE_NONE {
                self.rows.push(row(0, self.current));
            }
        }
    }
}

/// The rules that every table has, in the order of their indices.
pub(super) const fn fixed_rules() -> [Rule; RULES_FIXED as usize] {
    [Rule::NONE, Rule::ROOT, Rule::UNSUPPORTED, Rule::SIGNAL]
}

/// The different rules of a table.
#[derive(Debug)]
struct Rules {
    all: Vec<Rule>,
    indices: HashMap<Rule, u16>,
    recent: Box<[(Rule, u16); RECENT]>,
}

impl Rules {
    fn new() -> Self {
        let all = fixed_rules().to_vec();
        let indices = all.iter().copied().zip(0..).collect();
        Self { all, indices, recent: Box::new([(Rule::NONE, RULE_NONE); RECENT]) }
    }

    /// Index of a rule; that of `UNSUPPORTED` once there are too many.
    #[inline]
    fn index(&mut self, rule: Rule) -> u16 {
        let slot = slot(rule);
        let (known, index) = self.recent[slot];
        if known == rule {
            return index;
        }
        let index = self.index_of_rare(rule);
        self.recent[slot] = (rule, index);
        index
    }

    #[cold]
    fn index_of_rare(&mut self, rule: Rule) -> u16 {
        if let Some(index) = self.indices.get(&rule) {
            return *index;
        }
        let Ok(index) = u16::try_from(self.all.len()) else { return RULE_UNSUPPORTED };
        self.all.push(rule);
        self.indices.insert(rule, index);
        index
    }
}

/// Where a rule is kept among the recent ones.
#[inline]
fn slot(rule: Rule) -> usize {
    let words = u32::from(rule.cfa) << 24 | u32::from(rule.rbp) << 16;
    let words = words | u32::from(rule.rbp_offset.cast_unsigned());
    let mixed = (words ^ rule.cfa_offset.cast_unsigned().rotate_left(11)).wrapping_mul(0x9e37_79b1);
    mixed as usize >> (u32::BITS - RECENT.ilog2())
}

#[cfg(test)]
mod tests {
    use profiler_common::abi::row::{row_offset, row_rule};
    use proptest::prelude::*;

    use super::*;

    fn rule(cfa_offset: i32) -> Rule {
        if cfa_offset == 0 { Rule::NONE } else { Rule { cfa: 0x17, cfa_offset, ..Rule::NONE } }
    }

    #[test]
    fn too_many_rules_become_unsupported_and_keep_the_others() {
        let mut rules = Rules::new();
        let count = i32::from(u16::MAX) + 1 - i32::from(RULES_FIXED);
        for offset in 1..=count {
            assert_eq!(i32::from(rules.index(rule(offset))), offset + i32::from(RULES_FIXED) - 1);
        }
        assert_eq!(rules.index(rule(count + 1)), RULE_UNSUPPORTED);
        assert_eq!(rules.index(rule(1)), RULES_FIXED);
    }

    #[test]
    fn a_page_with_a_row_for_every_byte_is_too_full() {
        let mut writer = Writer::new(1);
        (0..PAGE_BYTES).for_each(|offset| {
            writer.push(offset, rule((offset % 2) as i32 + 1));
        });
        assert_eq!(writer.finish(), Err(Full));
    }

    proptest! {
        #[test]
        fn every_offset_has_the_rule_that_was_pushed_last(
            pushed in proptest::collection::btree_map(0u64..5 << PAGE_SHIFT, 0i32..4, 0..40),
            probes in proptest::collection::vec(0u64..4 << PAGE_SHIFT, 1..40),
        ) {
            let mut writer = Writer::new(4);
            for (offset, which) in &pushed {
                writer.push(*offset, rule(*which));
            }
            writer.push(4 << PAGE_SHIFT, Rule::NONE);
            let last = pushed.range(..4 << PAGE_SHIFT).next_back().map_or(0, |(_, which)| *which);
            let (pages, rows, rules) = writer.finish().unwrap();
            prop_assert_eq!(pages.len(), 5);
            let starts = pushed.keys().copied().filter(|offset| *offset < 4 << PAGE_SHIFT);
            for probe in probes.into_iter().chain(starts) {
                let page = (probe >> PAGE_SHIFT) as usize;
                let rows = &rows[pages[page] as usize..pages[page + 1] as usize];
                let within = (probe & (PAGE_BYTES - 1)) as u16;
                let found = rows.partition_point(|row| row_offset(*row) <= within);
                let known = pushed.range(..=probe).next_back().map_or(0, |(_, which)| *which);
                match found.checked_sub(1) {
                    Some(index) => {
                        prop_assert_eq!(rules[usize::from(row_rule(rows[index]))], rule(known));
                    }
                    // What holds to the end is not carried into pages that nobody opened.
                    None => prop_assert!(rows.is_empty() && (known == 0 || known == last)),
                }
            }
        }
    }
}
