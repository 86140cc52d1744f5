//! One run: agents and a collector on a simulated network, things that go wrong, and the reckoning.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use turmoil::{Builder, Sim};

use crate::agent::{Agent, End};
use crate::books::{check_end, check_meanwhile};
use crate::collector::{self, Collector};
use crate::disk::Mood;
use crate::faults::{Fault, Kind, Plan, draw_mood};
use crate::network::Road;
use crate::trace::Trace;

/// How far the simulation goes at once; messages arrive between two steps.
const STEP: Duration = Duration::from_millis(100);

/// Time between two looks at the invariant.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// How long everything may take to arrive once nothing fails any more: some connections stall, which their deadlines
/// notice after 50 s, and late requests come up to two minutes after they were sent.
const DRAIN_MAX: Duration = Duration::from_secs(900);

/// Runs the world of a seed in an empty folder.
///
/// # Errors
///
/// When the accounting is wrong, or something never arrives.
pub(crate) fn run(seed: u64, folder: &Path, trace: &Trace) -> Result<(), String> {
    // What the product draws by itself, such as the jitter of its waits.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::draw(&mut rng);
    trace.say(format_args!("{plan:?}"));
    let mut sim = Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(1_000_000))
        .tick_duration(STEP)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.latency_max)
        .fail_rate(plan.breaks)
        .repair_rate(0.1)
        .tcp_capacity(1 << 16)
        .build();
    let road = Road {
        traffic: plan.traffic,
        is_calm: Arc::default(),
        rng: Arc::new(Mutex::new(rng.fork())),
        trace: trace.clone(),
    };
    let collector = Collector::start(&mut sim, &folder.join("collector"), road);
    let agents = (0..plan.agents)
        .map(|number| Agent::start(&mut sim, &folder.join(number.to_string()), trace, &mut rng));
    let agents = agents.collect();
    let trace = trace.clone();
    let mut world = World { sim, collector, agents, plan, rng, trace, faults: Vec::new() };
    world.go_wrong()?;
    world.heal();
    world.drain()?;
    // The last report of losses, and what was taken meanwhile.
    for agent in &mut world.agents {
        agent.close_window(&mut world.rng, 0.0);
    }
    world.drain()?;
    let store = world.collector.store().ok_or("the collector does not run at the end")?;
    check_end(&world.agents, &*store)
}

struct World<'a> {
    sim: Sim<'a>,
    collector: Collector,
    agents: Vec<Agent>,
    plan: Plan,
    rng: Rng,
    trace: Trace,
    /// Those that have begun and not ended.
    faults: Vec<Fault>,
}

impl World<'_> {
    /// The time in which things fail.
    fn go_wrong(&mut self) -> Result<(), String> {
        let mut checked = Duration::ZERO;
        let mut sampled = Duration::ZERO;
        let mut closed = Duration::ZERO;
        while self.sim.elapsed() < self.plan.length {
            self.step()?;
            let now = self.sim.elapsed();
            for fault in self.plan.begin(now, STEP, &mut self.rng) {
                self.begin(fault);
            }
            let ended: Vec<Fault> =
                self.faults.extract_if(.., |fault| fault.until <= now).collect();
            for fault in ended {
                self.end(fault);
            }
            if now - sampled >= Duration::from_secs(1) {
                sampled = now;
                self.agents.iter_mut().for_each(|agent| agent.sample(&mut self.rng));
            }
            if now - closed >= self.plan.window {
                closed = now;
                for agent in &mut self.agents {
                    agent.close_window(&mut self.rng, self.plan.poison);
                }
            }
            self.bury();
            if now - checked >= CHECK_EVERY {
                checked = now;
                self.collector.tidy();
                self.check()?;
            }
        }
        Ok(())
    }

    /// Ends all that goes wrong.
    fn heal(&mut self) {
        self.trace.say("everything heals");
        for fault in std::mem::take(&mut self.faults) {
            self.end(fault);
        }
        self.sim.set_fail_rate(0.0);
        self.sim.set_max_message_latency(Duration::from_millis(100));
        self.collector.calm();
        for agent in &self.agents {
            agent.disk().restart(Mood::Healthy);
            self.sim.release(agent.name(), collector::NAME);
            self.sim.repair(agent.name(), collector::NAME);
        }
    }

    /// Waits until all batches are settled.
    fn drain(&mut self) -> Result<(), String> {
        let until = self.sim.elapsed() + DRAIN_MAX;
        while self.sim.elapsed() < until {
            self.step()?;
            let spooled = |agent: &Agent| agent.outbox().map(|outbox| outbox.lock().spooled().1);
            if self.agents.iter().all(|agent| spooled(agent) == Some(0)) {
                return self.check();
            }
        }
        let totals: Vec<_> = self.agents.iter().map(Agent::totals).collect();
        Err(format!("not everything arrives: {totals:?}"))
    }

    fn step(&mut self) -> Result<(), String> {
        self.trace.at(self.sim.elapsed());
        self.sim.step().map(drop).map_err(|error| error.to_string())
    }

    /// Processes whose disk was told to be their end.
    fn bury(&mut self) {
        for number in 0..self.agents.len() {
            if self.agents[number].disk().is_dead() {
                let end = if self.rng.bool() { End::Killed } else { End::PowerCut };
                self.agents[number].kill(&mut self.sim, end);
                self.agents[number].restart(&mut self.sim);
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let Some(store) = self.collector.store() else { return Ok(()) };
        let totals: Vec<_> = self.agents.iter().map(Agent::totals).collect();
        self.trace.say(format_args!("{totals:?}"));
        check_meanwhile(&self.agents, &*store)
    }

    fn begin(&mut self, fault: Fault) {
        self.trace.say(format_args!("begins: {fault:?}"));
        let agent = &mut self.agents[fault.agent];
        let is_away = agent.outbox().is_none();
        match fault.kind {
            Kind::Partition => self.sim.partition(agent.name(), collector::NAME),
            Kind::OneWay if fault.to_collector => {
                self.sim.partition_oneway(agent.name(), collector::NAME);
            }
            Kind::OneWay => self.sim.partition_oneway(collector::NAME, agent.name()),
            Kind::Hold => self.sim.hold(agent.name(), collector::NAME),
            Kind::KillAgent | Kind::PowerCut | Kind::StopAgent if is_away => return,
            Kind::KillAgent => agent.kill(&mut self.sim, End::Killed),
            Kind::PowerCut => agent.kill(&mut self.sim, End::PowerCut),
            Kind::StopAgent => agent.stop(),
            Kind::DieInWrite => {
                agent.disk().die_after(self.rng.u64(0..40));
                return;
            }
            Kind::KillCollector if self.collector.store().is_none() => return,
            Kind::KillCollector => {
                let names: Vec<_> = self.agents.iter().map(|a| a.name().to_owned()).collect();
                self.collector.kill(&mut self.sim, &names, &mut self.rng);
            }
            Kind::AgentDisk => agent.disk().set_mood(draw_mood(&mut self.rng)),
            Kind::CollectorDisk => self.collector.fill_disk(true),
            Kind::Rot => {
                agent.let_rot();
                return;
            }
        }
        self.faults.push(fault);
    }

    fn end(&mut self, fault: Fault) {
        self.trace.say(format_args!("ends: {fault:?}"));
        let agent = &mut self.agents[fault.agent];
        match fault.kind {
            Kind::Partition | Kind::OneWay => self.sim.repair(agent.name(), collector::NAME),
            Kind::Hold => self.sim.release(agent.name(), collector::NAME),
            // A stop that took too long ends as such stops do.
            Kind::StopAgent => {
                agent.kill(&mut self.sim, End::Killed);
                agent.restart(&mut self.sim);
            }
            Kind::KillAgent | Kind::PowerCut => agent.restart(&mut self.sim),
            Kind::KillCollector if self.collector.store().is_some() => {}
            Kind::KillCollector => self.collector.restart(&mut self.sim),
            Kind::AgentDisk => agent.disk().set_mood(Mood::Healthy),
            Kind::CollectorDisk => self.collector.fill_disk(false),
            Kind::DieInWrite | Kind::Rot => {}
        }
    }
}
