//! Takes out of a batch's dictionary what nothing of it names.

use profiler_common::wire::v1;

/// Stands for a string or frame that is not needed so far.
const UNNEEDED: u32 = u32::MAX;

/// Numbers anew what is needed, in the order in which it is.
pub(super) struct Trimmer<'b> {
    batch: &'b v1::Batch,
    /// By old index, the new one.
    string_of: Vec<u32>,
    frame_of: Vec<u32>,
    strings: Vec<String>,
    frames: Vec<v1::Frame>,
}

impl<'b> Trimmer<'b> {
    /// Takes a batch whose frames and stacks name nothing that it does not hold.
    pub(super) fn new(batch: &'b v1::Batch) -> Self {
        let string_of = vec![UNNEEDED; batch.strings.len()];
        let frame_of = vec![UNNEEDED; batch.frames.len()];
        let mut trimmer =
            Self { batch, string_of, frame_of, strings: Vec::new(), frames: Vec::new() };
        trimmer.string(0);
        trimmer
    }

    /// The batch with these services, and of its stacks only those of these indices.
    pub(super) fn trim(
        mut self,
        mut services: Vec<v1::ServiceProfile>,
        stacks: &[usize],
    ) -> v1::Batch {
        for service in &mut services {
            for name in [&mut service.service, &mut service.version, &mut service.unit] {
                *name = self.string(*name);
            }
            self.labels(&mut service.labels);
            for syscall in &mut service.syscalls {
                syscall.name = self.string(syscall.name);
            }
        }
        let mut host_labels = self.batch.host_labels.clone();
        self.labels(&mut host_labels);
        let mut defined = Vec::with_capacity(stacks.len());
        for index in stacks {
            let frames = &self.batch.stacks[*index].frames;
            let frames = frames.iter().map(|frame| self.frame(*frame)).collect();
            defined.push(v1::Stack { frames });
        }
        let batch = self.batch;
        v1::Batch {
            protocol: batch.protocol,
            agent_id: batch.agent_id.clone(),
            epoch: batch.epoch,
            sequence: batch.sequence,
            host: batch.host.clone(),
            start_unix_ns: batch.start_unix_ns,
            end_unix_ns: batch.end_unix_ns,
            strings: self.strings,
            frames: self.frames,
            stacks: defined,
            services,
            accounting: batch.accounting.clone(),
            host_labels,
        }
    }

    fn labels(&mut self, labels: &mut [v1::Label]) {
        for label in labels {
            label.key = self.string(label.key);
            label.value = self.string(label.value);
        }
    }

    fn frame(&mut self, index: u32) -> u32 {
        let known = self.frame_of[index as usize];
        if known != UNNEEDED {
            return known;
        }
        let frame = self.batch.frames[index as usize];
        let frame = v1::Frame {
            function: self.string(frame.function),
            module: self.string(frame.module),
            file: self.string(frame.file),
            build_id: self.string(frame.build_id),
            ..frame
        };
        self.frames.push(frame);
        let new = u32::try_from(self.frames.len() - 1).unwrap_or(UNNEEDED);
        self.frame_of[index as usize] = new;
        new
    }

    /// An index past the end stays past the end: the collector refuses the batch for it.
    fn string(&mut self, index: u32) -> u32 {
        let Some(known) = self.string_of.get_mut(index as usize) else { return UNNEEDED };
        if *known == UNNEEDED {
            *known = u32::try_from(self.strings.len()).unwrap_or(UNNEEDED);
            self.strings.push(self.batch.strings[index as usize].clone());
        }
        *known
    }
}
