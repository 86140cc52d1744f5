//! Hands what the kernel side logs to `tracing`.

use ::log::{Level, Log, Metadata, Record};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tracing::{debug, error, info, trace, warn};

/// Name of the read-only level in the object; set when the object is loaded.
pub(super) const LEVEL: &str = aya_log::LEVEL;

/// Level at which the verifier drops every log statement.
pub(super) const LEVEL_OFF: u8 = 0;

/// Level at which everything is logged.
pub(super) const LEVEL_ALL: u8 = u8::MAX;

/// Name of the ring that holds the lines.
pub(super) const RING: &str = "AYA_LOGS";

/// Reads the lines of the kernel side.
pub(super) struct KernelLog(EbpfLogger<ToTracing>);

impl KernelLog {
    /// Takes the ring of the lines, or says why it cannot.
    pub(super) fn take(ebpf: &mut Ebpf) -> Option<Self> {
        EbpfLogger::init_with_logger(ebpf, ToTracing)
            .map_err(|error| warn!("failed to open the log of the kernel side: {error}"))
            .ok()
            .map(Self)
    }

    /// Writes the lines that wait.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}

struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args();
        match record.level() {
            Level::Error => error!(target: "kernel", "{line}"),
            Level::Warn => warn!(target: "kernel", "{line}"),
            Level::Info => info!(target: "kernel", "{line}"),
            Level::Debug => debug!(target: "kernel", "{line}"),
            Level::Trace => trace!(target: "kernel", "{line}"),
        }
    }

    fn flush(&self) {}
}
