//! What the tables are; [`schema`](super::schema) makes them.

/// Blocks of a table that are remembered so as to be refused; at ten batches a second and shard that is the last quarter
/// of an hour, and an agent repeats within a minute. What is older is known from the table `batch`.
pub(super) const DEDUPLICATED_BLOCKS: u32 = 10_000;

/// What a roll-up of an hour is a multiple of.
pub(super) const NS_PER_HOUR: u64 = 3_600_000_000_000;

/// Columns of a window, with their types, in the order in which they are written.
const WINDOW: &str = "day UInt16, batch FixedString(16), start_ns UInt64, end_ns UInt64, service String, \
    version String, host String, unit String, series FixedString(16), label_keys Array(String), \
    label_values Array(String), machine String, period_ns UInt64, samples UInt64, cpu_ns UInt64, \
    walked UInt64, whole UInt64, taken UInt64, lost UInt64, stacks Array(FixedString(16)), \
    counts Array(UInt64), walk_ends Array(String), walk_samples Array(UInt64), call_names Array(String), \
    call_waiting Array(UInt8), call_sums Array(UInt64), call_maxes Array(UInt64), \
    call_buckets Array(Array(UInt32)), call_calls Array(Array(UInt64)), \
    call_errnos Array(Array(UInt32)), call_errors Array(Array(UInt64))";

/// Columns of what arrives beside those of a window.
const ARRIVAL: &str =
    "kind UInt8, agent String, total_names Array(String), total_values Array(UInt64)";

/// Which shard a batch goes to.
pub(super) const ARRIVAL_SHARD: &str = "cityHash64(agent)";

/// How equal rows of a table become one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Engine {
    Plain,
    /// Adds up these columns.
    Summing(&'static str),
    /// Merges the states of aggregate functions.
    Aggregating,
    /// Keeps one of equal rows; the highest of the column, if it names one.
    Replacing(&'static str),
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// On the shard to which the batch went.
    Arrival,
    /// On a shard, by this expression.
    Shard(&'static str),
    /// On all servers.
    Everywhere,
}

pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static str,
    pub(super) engine: Engine,
    pub(super) order: &'static str,
    /// Whether a partition is a day; otherwise there is one, which is never deleted.
    pub(super) is_daily: bool,
    pub(super) place: Place,
}

/// Tables whose partitions are days, of which retention drops the old ones; the windows last, as they tell which there are.
pub(super) const DAILY: [&str; 9] = [
    "stack_1m",
    "stack_1h",
    "activity_1h",
    "walk_1h",
    "call_1h",
    "batch",
    "frame",
    "stack",
    "window",
];

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "window",
        columns: WINDOW,
        engine: Engine::Plain,
        order: "(service, start_ns, version, host, unit, series, batch)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "stack_1m",
        columns: "day UInt16, service String, version String, at_ns UInt64, stack FixedString(16), \
                  samples UInt64, cpu_ns UInt64, batch FixedString(16)",
        engine: Engine::Summing("samples, cpu_ns"),
        order: "(service, at_ns, version, stack)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "stack_1h",
        columns: "day UInt16, service String, version String, at_ns UInt64, stack FixedString(16), \
                  samples UInt64, cpu_ns UInt64, batch FixedString(16)",
        engine: Engine::Summing("samples, cpu_ns"),
        order: "(service, at_ns, version, stack)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "activity_1h",
        columns: "day UInt16, service String, version String, at_ns UInt64, series FixedString(16), \
                  host String, unit String, label_keys Array(String), label_values Array(String), \
                  first AggregateFunction(min, UInt64), last AggregateFunction(max, UInt64), \
                  sum_samples AggregateFunction(sum, UInt64), sum_cpu_ns AggregateFunction(sum, UInt64), \
                  sum_walked AggregateFunction(sum, UInt64), sum_whole AggregateFunction(sum, UInt64), \
                  any_batch AggregateFunction(any, FixedString(16))",
        engine: Engine::Aggregating,
        order: "(service, at_ns, series, version, host, unit, label_keys, label_values)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "walk_1h",
        columns: "day UInt16, service String, version String, at_ns UInt64, walk_end String, \
                  walk_count UInt64, batch FixedString(16)",
        engine: Engine::Summing("walk_count"),
        order: "(service, at_ns, version, walk_end)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "call_1h",
        columns: "day UInt16, service String, version String, at_ns UInt64, call_name String, \
                  waiting UInt8, sum_ns AggregateFunction(sum, UInt64), \
                  max_ns AggregateFunction(max, UInt64), \
                  calls AggregateFunction(sumMap, Array(UInt32), Array(UInt64)), \
                  errors AggregateFunction(sumMap, Array(UInt32), Array(UInt64)), \
                  any_batch AggregateFunction(any, FixedString(16))",
        engine: Engine::Aggregating,
        order: "(service, at_ns, version, call_name, waiting)",
        is_daily: true,
        place: Place::Arrival,
    },
    Table {
        name: "total",
        columns: "name String, value UInt64, batch FixedString(16)",
        engine: Engine::Summing("value"),
        order: "name",
        is_daily: false,
        place: Place::Arrival,
    },
    Table {
        name: "batch",
        columns: "day UInt16, batch FixedString(16), agent String",
        engine: Engine::Plain,
        order: "batch",
        is_daily: true,
        // With the windows that it vouches for.
        place: Place::Shard(ARRIVAL_SHARD),
    },
    Table {
        name: "frame",
        columns: "day UInt16, key FixedString(16), kind UInt32, function String, module String, \
                  file String, line UInt32, build_id String",
        engine: Engine::Replacing(""),
        order: "key",
        is_daily: true,
        place: Place::Shard("cityHash64(key)"),
    },
    Table {
        name: "stack",
        columns: "day UInt16, key FixedString(16), frames Array(FixedString(16))",
        engine: Engine::Replacing(""),
        order: "key",
        is_daily: true,
        place: Place::Shard("cityHash64(key)"),
    },
    Table {
        name: "state",
        columns: "key String, version UInt64, value String",
        engine: Engine::Replacing("version"),
        order: "key",
        is_daily: false,
        place: Place::Everywhere,
    },
    Table {
        name: "schema_version",
        columns: "version UInt32, seed UInt64",
        engine: Engine::Plain,
        order: "version",
        is_daily: false,
        place: Place::Everywhere,
    },
];

/// (target, what of an arrival goes there).
pub(super) const VIEWS: [(&str, &str); 7] = [
    (
        "stack_1m",
        "SELECT day, service, version, intDiv(start_ns, 60000000000) * 60000000000 AS at_ns, stack, \
         count AS samples, count * period_ns AS cpu_ns, batch FROM $arrival \
         ARRAY JOIN stacks AS stack, counts AS count WHERE kind = 1",
    ),
    (
        "stack_1h",
        "SELECT day, service, version, intDiv(start_ns, 3600000000000) * 3600000000000 AS at_ns, stack, \
         count AS samples, count * period_ns AS cpu_ns, batch FROM $arrival \
         ARRAY JOIN stacks AS stack, counts AS count WHERE kind = 1",
    ),
    (
        "activity_1h",
        "SELECT day, service, version, intDiv(start_ns, 3600000000000) * 3600000000000 AS at_ns, series, \
         host, unit, label_keys, label_values, minState(start_ns) AS first, maxState(end_ns) AS last, \
         sumState(samples) AS sum_samples, sumState(cpu_ns) AS sum_cpu_ns, \
         sumState(walked) AS sum_walked, sumState(whole) AS sum_whole, anyState(batch) AS any_batch FROM $arrival \
         WHERE kind = 1 GROUP BY day, service, version, at_ns, series, host, unit, label_keys, \
         label_values",
    ),
    (
        "walk_1h",
        "SELECT day, service, version, intDiv(start_ns, 3600000000000) * 3600000000000 AS at_ns, \
         walk_end, walk_count, batch FROM $arrival \
         ARRAY JOIN walk_ends AS walk_end, walk_samples AS walk_count WHERE kind = 1",
    ),
    (
        "call_1h",
        "SELECT day, service, version, intDiv(start_ns, 3600000000000) * 3600000000000 AS at_ns, \
         call_name, waiting, sumState(call_sum) AS sum_ns, maxState(call_max) AS max_ns, \
         sumMapState(buckets, bucket_calls) AS calls, sumMapState(errnos, errno_calls) AS errors, anyState(batch) AS any_batch \
         FROM $arrival ARRAY JOIN call_names AS call_name, call_waiting AS waiting, \
         call_sums AS call_sum, call_maxes AS call_max, call_buckets AS buckets, \
         call_calls AS bucket_calls, call_errnos AS errnos, call_errors AS errno_calls \
         WHERE kind = 1 GROUP BY day, service, version, at_ns, call_name, waiting",
    ),
    (
        "total",
        "SELECT name, value, batch FROM $arrival \
         ARRAY JOIN total_names AS name, total_values AS value WHERE kind = 2",
    ),
    ("window", "SELECT $window FROM $arrival WHERE kind = 1"),
];

/// Columns of an arrival with their types, in the order in which they are written.
pub(super) fn arrival_columns() -> String {
    format!("{ARRIVAL}, {WINDOW}")
}

/// Names of the columns of an arrival, in the same order.
pub(super) fn arrival_names() -> String {
    names(&arrival_columns())
}

/// Names of the columns of a window.
pub(super) fn window_names() -> String {
    names(WINDOW)
}

/// The names of columns without their types, in none of which is a comma.
fn names(columns: &str) -> String {
    let names: Vec<&str> =
        columns.split(", ").filter_map(|column| column.split(' ').next()).collect();
    names.join(", ")
}
