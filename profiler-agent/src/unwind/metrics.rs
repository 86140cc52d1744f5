//! The metrics of unwind tables.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::UnwindReport;

/// What a report sets. Cloning shares the values.
#[derive(Debug, Clone, Default)]
pub struct UnwindMetrics {
    tables: Gauge,
    table_bytes: Gauge,
    wanted: Gauge,
    processes: Gauge,
    rules: Gauge,
    kernel_bytes: Gauge,
    built: Counter,
    loaded: Counter,
    build_seconds: Counter<f64, AtomicU64>,
    evicted: Counter,
    refused: Family<Vec<(String, String)>, Counter>,
}

impl UnwindMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        let gauges = [
            ("tables", "Executables whose unwind table the kernel has", &self.tables),
            ("table_bytes", "Bytes of unwind tables in the kernel", &self.table_bytes),
            ("tables_wanted", "Executables whose unwind table is still to be made", &self.wanted),
            ("processes", "Processes that are unwound by tables", &self.processes),
            ("rules", "Different unwind rules of all tables", &self.rules),
            (
                "kernel_bytes",
                "Kernel memory set aside for unwind tables, used or not",
                &self.kernel_bytes,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("tables_built", "Unwind tables made from an executable", &self.built),
            ("tables_loaded", "Unwind tables loaded from the state folder", &self.loaded),
            ("tables_evicted", "Unwind tables given up to make room for others", &self.evicted),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "build_seconds",
            "Time spent making and loading unwind tables",
            self.build_seconds.clone(),
        );
        registry.register(
            "refused",
            "What cannot be unwound by tables, by reason",
            self.refused.clone(),
        );
    }

    /// Sets all to what a report says.
    pub fn set(&self, report: &UnwindReport) {
        let gauges = [
            (&self.tables, report.tables),
            (&self.table_bytes, report.table_bytes),
            (&self.wanted, report.wanted),
            (&self.processes, report.spaces),
            (&self.rules, report.rules),
            (&self.kernel_bytes, report.kernel_bytes),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let counters = [
            (&self.built, report.built),
            (&self.loaded, report.loaded),
            (&self.evicted, report.evicted),
        ];
        for (counter, total) in counters {
            counter.inner().fetch_max(total, Ordering::Relaxed);
        }
        self.build_seconds.inner().store(report.build_seconds.to_bits(), Ordering::Relaxed);
        for (reason, total) in &report.refused {
            let label = vec![("reason".to_owned(), (*reason).to_owned())];
            self.refused.get_or_create(&label).inner().fetch_max(*total, Ordering::Relaxed);
        }
    }
}
