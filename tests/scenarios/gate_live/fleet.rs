//! Three hosts, each with one process of every version and an agent that samples those processes only.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};

use harness::agent::{Agent, AgentPlace, STOP_LIMIT};
use harness::collector::Collector;
use harness::running::Running;
use harness::workload::Workload;
use harness::{Scenario, eventually};

/// The version that all are compared with, and how much more its function costs: nothing.
pub(crate) const BASELINE: Arm = Arm { name: "v1", percent: 0 };

/// What is compared with it.
pub(crate) const CANDIDATES: [Arm; 4] = [
    Arm { name: "v1 again", percent: 0 },
    Arm { name: "+1 %", percent: 1 },
    Arm { name: "+5 %", percent: 5 },
    Arm { name: "+30 %", percent: 30 },
];

/// The function that costs more.
pub(crate) const FUNCTION: &str = "render_page";

/// Its share of the CPU time of the service: 22 units in three of four requests, of 58.75 in a mean request.
pub(crate) const FUNCTION_SHARE: f64 = 22.0 * 0.75 / 58.75;

/// Hosts that the agents say they are.
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Samples a second and CPU, of each agent.
pub(crate) const FREQUENCY_HZ: u32 = 997;

/// Requests a second of each process: 15 processes at about a millisecond each keep two processors two thirds busy.
pub(crate) const LOAD: u32 = 90;

/// Times of questions are multiples of this, so that no window of a unit is cut.
pub(crate) const WINDOW_SECONDS: u64 = 5;

/// A version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    /// What it is called in the tables; also its version label, without blanks.
    pub(crate) name: &'static str,
    /// By how much more its function costs.
    pub(crate) percent: u32,
}

impl Arm {
    /// The label `version` of its processes. Also in the environment of a process, where a comma or percent sign would
    /// be read as one.
    pub(crate) fn version(self) -> String {
        let kept = |letter: &char| letter.is_ascii_alphanumeric();
        self.name.chars().filter(kept).collect()
    }

    /// By how much more the service costs.
    pub(crate) fn growth(self) -> f64 {
        f64::from(self.percent) / 100.0 * FUNCTION_SHARE
    }
}

/// Start and end of a time, Unix seconds.
pub(crate) type Range = [u64; 2];

/// Everything that runs.
pub(crate) struct Fleet {
    agents: Vec<Agent>,
    _processes: Vec<Running>,
}

impl Fleet {
    /// Starts the processes, then the agents of all hosts at once.
    pub(crate) fn start(scenario: &Scenario, collector: &Collector, service: &str) -> Result<Self> {
        let mut processes = Vec::new();
        let mut places = Vec::new();
        for host in HOSTS {
            let mut pids = Vec::new();
            for arm in [BASELINE].into_iter().chain(CANDIDATES) {
                let process = start(scenario, service, arm, host)?;
                pids.push(process.pid().to_string());
                processes.push(process);
            }
            let place = AgentPlace::new(scenario, &collector.place().grpc_url())?
                .host(host)
                .with_state(&scenario.path(host))
                .frequency(FREQUENCY_HZ)
                .arg("--pid")
                .arg(&pids.join(","));
            places.push(place);
        }
        let starting: Vec<_> =
            places.into_iter().map(|place| thread::spawn(move || place.start())).collect();
        let started = starting.into_iter().map(|agent| {
            agent.join().map_err(|_panic| anyhow!("the start of an agent panicked"))?
        });
        Ok(Self { agents: started.collect::<Result<_>>()?, _processes: processes })
    }

    /// Lets it run, stops it, and returns the time in which all of it ran.
    pub(crate) fn run_for(mut self, seconds: u64) -> Result<Range> {
        let start = (unix_seconds()? + 1).next_multiple_of(WINDOW_SECONDS);
        let end = start + seconds;
        let limit = Duration::from_secs(seconds + 2 * WINDOW_SECONDS);
        eventually::some("the run is over", limit, || Ok((unix_seconds()? > end).then_some(())))?;
        for agent in &mut self.agents {
            agent.running().still_runs()?;
            agent.running().stop_cleanly(STOP_LIMIT)?;
        }
        Ok([start, end])
    }
}

fn start(scenario: &Scenario, service: &str, arm: Arm, host: &str) -> Result<Running> {
    Workload::new("burn")?
        .arg("--load")
        .arg(LOAD)
        .arg("--burn")
        .arg(format!("{FUNCTION}={}", arm.percent))
        .service(service)
        .version(&arm.version())
        .instance(&format!("{host}-{}", arm.version()))
        .start(scenario)
}

fn unix_seconds() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock before 1970")?;
    Ok(now.as_secs())
}
