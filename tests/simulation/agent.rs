//! An agent's process: the real outbox and shipper on a simulated kernel, killed without warning.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use flamewatch_agent::ship::accounting::{BatchKey, Totals};
use flamewatch_agent::ship::disk::Disk;
use flamewatch_agent::ship::encode::HostFacts;
use flamewatch_agent::ship::{Outbox, OutboxOptions, SharedOutbox, Shipper};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use crate::collector;
use crate::disk::{Mood, SimulatedDisk};
use crate::network::{client, crash};
use crate::trace::Trace;
use crate::work::Work;

/// When the first process of an agent starts.
const EPOCH_NS: u64 = 1_735_689_600_000_000_000;

/// How a process ends that was not told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Killed: what it wrote is there, synced or not.
    Killed,
    /// The power of its host failed: some of what was not synced is gone.
    PowerCut,
}

/// One agent, over all its processes.
#[derive(Debug)]
pub(crate) struct Agent {
    place: Arc<Place>,
    pub(crate) work: Work,
    /// The kernel's counters since the process started.
    submitted: u64,
    ring_full: u64,
    drained: u64,
    /// What killed processes had sent while their books could not be written counts as lost too: "too many losses".
    pub(crate) overstates_losses: bool,
}

#[derive(Debug)]
struct Place {
    name: String,
    folder: PathBuf,
    spool_bytes_max: u64,
    disk: Arc<SimulatedDisk>,
    trace: Trace,
    process: Mutex<Option<Process>>,
    last: Mutex<Last>,
}

#[derive(Debug, Clone)]
struct Process {
    outbox: SharedOutbox,
    stop: CancellationToken,
}

/// What is known of the process before.
#[derive(Debug, Default)]
struct Last {
    taken: u64,
    /// The next process must know of exactly so many; otherwise of no more.
    is_noted: bool,
}

impl Agent {
    /// Starts it on the simulated network; `number` names it.
    pub(crate) fn start(sim: &mut Sim<'_>, folder: &Path, trace: &Trace, rng: &mut Rng) -> Self {
        let number = folder.file_name().unwrap().to_str().unwrap();
        let name = format!("agent-{number}");
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("agent-id"), format!("{number:0>32}")).unwrap();
        let place = Arc::new(Place {
            spool_bytes_max: rng.choice([3_000, 30_000, 10_000_000]).unwrap(),
            disk: Arc::new(SimulatedDisk::new(rng.u64(..))),
            folder: folder.to_owned(),
            trace: trace.clone(),
            process: Mutex::default(),
            last: Mutex::new(Last { taken: 0, is_noted: true }),
            name: name.clone(),
        });
        let run = Arc::clone(&place);
        sim.host(name.clone(), move || ship(Arc::clone(&run)));
        let work = Work::new(name, rng);
        let (submitted, ring_full, drained) = (0, 0, 0);
        Self { place, work, submitted, ring_full, drained, overstates_losses: false }
    }

    /// Name on the simulated network, and of its host in the store.
    pub(crate) fn name(&self) -> &str {
        &self.place.name
    }

    pub(crate) fn disk(&self) -> &SimulatedDisk {
        &self.place.disk
    }

    /// The outbox, while the process runs.
    pub(crate) fn outbox(&self) -> Option<SharedOutbox> {
        self.place.process.lock().unwrap().as_ref().map(|process| process.outbox.clone())
    }

    /// The books, while the process runs.
    pub(crate) fn totals(&self) -> Option<Totals> {
        self.outbox().map(|outbox| outbox.lock().totals())
    }

    /// A second of the kernel: it takes samples, and the sampling thread counts them.
    pub(crate) fn sample(&mut self, rng: &mut Rng) {
        let Some(outbox) = self.outbox() else { return };
        self.submitted += rng.u64(0..100);
        if rng.f64() < 0.02 {
            self.ring_full += rng.u64(1..20);
        }
        let mut outbox = outbox.lock();
        outbox.accounting_mut().observe_kernel(self.submitted, [("ring_full", self.ring_full)]);
        outbox.note_taken();
        self.place.last.lock().unwrap().taken = outbox.accounting_mut().taken();
    }

    /// The end of a window: the naming thread hands it to the outbox.
    pub(crate) fn close_window(&mut self, rng: &mut Rng, poison: f64) {
        let Some(outbox) = self.outbox() else { return };
        let drained = self.submitted - self.drained;
        self.drained = self.submitted;
        let lost = if rng.f64() < 0.1 { drained / 10 } else { 0 };
        let is_poison = rng.f64() < poison;
        let window = self.work.window(drained - lost, is_poison, rng);
        {
            let mut outbox = outbox.lock();
            outbox.accounting_mut().drain(drained);
            outbox.accounting_mut().lose_from_window("window_full", lost);
            let batches = outbox.push(&window);
            drop(outbox);
            assert_eq!(batches, 1, "a small window is one batch");
        }
        outbox.notify();
    }

    /// Damages the file of a batch that was never sent: one that is not the oldest of this process.
    pub(crate) fn let_rot(&self) {
        let Some(outbox) = self.outbox() else { return };
        let keys: Vec<BatchKey> =
            outbox.lock().accounting_mut().batches().map(|(key, _)| key).collect();
        let [.., before, newest] = keys[..] else { return };
        if before.epoch != newest.epoch {
            return;
        }
        let name = format!("{:020}-{:010}-", newest.epoch, newest.sequence);
        for entry in fs::read_dir(self.place.folder.join("spool")).unwrap() {
            let path = entry.unwrap().path();
            let is_batch = path.extension().is_some_and(|ending| ending == "batch");
            let found = path.file_name().unwrap().to_string_lossy();
            if is_batch && found.starts_with(&name) {
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(&path, bytes).unwrap();
                self.place.trace.say(format_args!("{}: {newest:?} rots", self.name()));
            }
        }
    }

    /// Ends the process without a warning.
    pub(crate) fn kill(&mut self, sim: &mut Sim<'_>, how: End) {
        // The runtime goes first: whatever holds the outbox goes with it.
        crash(sim, self.name(), &[collector::NAME.to_owned()]);
        if let Some(process) = self.place.process.lock().unwrap().take() {
            let totals = process.outbox.lock().totals();
            self.place.trace.say(format_args!("{} is ended: {how:?}, {totals:?}", self.name()));
        }
        let disk = &self.place.disk;
        self.overstates_losses |= disk.books_behind();
        self.place.last.lock().unwrap().is_noted &= !disk.note_behind() && how == End::Killed;
        if how == End::PowerCut {
            let undone = disk.cut_power();
            self.place.trace.say(format_args!("{}: {undone} changes are undone", self.name()));
        }
        disk.restart(Mood::Healthy);
        (self.submitted, self.ring_full, self.drained) = (0, 0, 0);
    }

    /// Tells the process to end.
    pub(crate) fn stop(&mut self) {
        if let Some(process) = &*self.place.process.lock().unwrap() {
            self.place.trace.say(format_args!("{} is told to stop", self.name()));
            process.stop.cancel();
        }
    }

    /// Starts a new process unless one runs.
    pub(crate) fn restart(&self, sim: &mut Sim<'_>) {
        if self.outbox().is_some() {
            return;
        }
        self.place.trace.say(format_args!("{} starts", self.name()));
        sim.bounce(self.name());
    }
}

/// One process of an agent: opens the outbox as soon as the disk lets it, and ships.
async fn ship(place: Arc<Place>) -> turmoil::Result {
    let outbox = loop {
        match open(&place) {
            Ok(outbox) => break SharedOutbox::new(outbox),
            Err(error) => place.trace.say(format_args!("{} fails to start: {error}", place.name)),
        }
        sleep(Duration::from_secs(1)).await;
    };
    let totals = outbox.lock().totals();
    place.trace.say(format_args!("{} has started: {totals:?}", place.name));
    {
        let mut last = place.last.lock().unwrap();
        let is_right =
            if last.is_noted { totals.taken == last.taken } else { totals.taken <= last.taken };
        if !is_right {
            return Err(format!("{}: {last:?}, but the books say {totals:?}", place.name).into());
        }
        *last = Last { taken: totals.taken, is_noted: true };
    }
    let stop = CancellationToken::new();
    let process = Process { outbox: outbox.clone(), stop: stop.clone() };
    *place.process.lock().unwrap() = Some(process);
    Shipper { outbox, client: client() }.run(stop).await?;
    // The last word of the pipeline.
    if let Some(process) = place.process.lock().unwrap().take() {
        let saved = process.outbox.lock().save();
        place.trace.say(format_args!("{} has stopped: {saved:?}", place.name));
    }
    Ok(())
}

fn open(place: &Place) -> Result<Outbox, Box<dyn std::error::Error>> {
    let now = turmoil::sim_elapsed().unwrap_or_default();
    let options = OutboxOptions {
        spool_bytes_max: place.spool_bytes_max,
        epoch: EPOCH_NS + u64::try_from(now.as_nanos())?,
        facts: HostFacts { host: place.name.clone(), labels: Vec::new() },
    };
    let disk = Disk::failing(Arc::clone(&place.disk) as _);
    Ok(Outbox::open_on(disk, &place.folder, options)?)
}
