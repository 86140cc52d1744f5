//! Adds up a selection over a range.

use super::SqliteStore;
use super::block::Content;
use super::level::Level;
use super::parts::{Parts, Scope};
use super::read::{Series, find_releases, find_series, is_of_releases};
use super::segment::WindowContent;
use super::windows::Namer;
use crate::store::{Merged, Selection, StoreError, TimeRange, WindowProfile};

impl SqliteStore {
    pub(super) fn merge_all(
        &self,
        selection: &Selection,
        range: TimeRange,
    ) -> Result<Merged, StoreError> {
        let reader = self.readers.take()?;
        let mut parts = Parts::new(&reader, range, Some(Level::Day))?;
        let series = find_series(&reader, selection)?;
        let mut sum = WindowContent::default();
        let mut add = |window: WindowContent| {
            sum.merge(&window);
            Ok(())
        };
        if is_of_releases(selection) {
            for (release, _) in find_releases(&reader, selection)? {
                parts.segments(Scope::release(release), &mut add)?;
            }
        } else {
            for Series { id, .. } in &series {
                parts.segments(Scope::series(*id), &mut add)?;
            }
        }
        for Series { id, .. } in &series {
            parts.fresh(*id, &mut add)?;
        }
        let WindowContent { cpu_ns, content, .. } = sum;
        let Content { stacks, syscalls, quality, .. } = content;
        let mut namer = Namer::new(&self.names, &reader);
        let counts: Result<Vec<(u32, u64)>, StoreError> =
            stacks.iter().map(|(id, count)| Ok((namer.stack(id)?, count))).collect();
        let profile = WindowProfile::new(namer.into_dictionary(), counts?);
        Ok(Merged { profile, cpu_ns, quality, syscalls: syscalls.into_values().collect() })
    }
}
