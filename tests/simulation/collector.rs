//! The collector's process: the real ingest on a real store, killed without warning.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use flamewatch_collector::ingest::IngestService;
use flamewatch_collector::metrics::Metrics;
use flamewatch_collector::store::{SqliteStore, Store as _, StoreOptions};
use tonic::transport::Server;
use turmoil::Sim;
use turmoil::net::TcpListener;

use crate::network::{PORT, Road, crash, incoming};
use crate::trace::Trace;
use crate::work::{APART_NS, FIRST_NS};

/// Name on the simulated network.
pub(crate) const NAME: &str = "collector";

/// Pages at which the disk is not full.
const PAGES_MAX: u32 = 1 << 20;

/// Windows may be of any time; only those before 1990 are past retention.
const RETENTION_NS: u64 = 30 * 365 * 86_400 * 1_000_000_000;

/// The collector, over all its processes.
#[derive(Debug)]
pub(crate) struct Collector {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    road: Road,
    trace: Trace,
    process: Mutex<Process>,
}

#[derive(Debug, Default)]
struct Process {
    /// Counts the processes: each has a copy of the files as its predecessor left them.
    number: u32,
    store: Option<Arc<SqliteStore>>,
}

impl Collector {
    /// Starts it on the simulated network; its files are to lie in `folder`.
    pub(crate) fn start(sim: &mut Sim<'_>, folder: &Path, road: Road) -> Self {
        fs::create_dir_all(folder.join("0")).unwrap();
        let trace = road.trace.clone();
        let place = Place { folder: folder.to_owned(), road, trace, process: Mutex::default() };
        let place = Arc::new(place);
        let served = Arc::clone(&place);
        sim.host(NAME, move || serve(Arc::clone(&served)));
        Self { place }
    }

    /// The store, while the process runs.
    pub(crate) fn store(&self) -> Option<Arc<SqliteStore>> {
        self.place.process.lock().unwrap().store.clone()
    }

    /// Kills the process: what SQLite would do at an orderly end is not done to the files that the next one finds.
    pub(crate) fn kill(&self, sim: &mut Sim<'_>, agents: &[String], rng: &mut Rng) {
        let mut process = self.place.process.lock().unwrap();
        self.place.trace.say("the collector is killed");
        let left = self.place.folder.join(process.number.to_string());
        process.number += 1;
        let found = self.place.folder.join(process.number.to_string());
        fs::create_dir(&found).unwrap();
        for file in ["store.db", "store.db-wal"] {
            if left.join(file).exists() {
                fs::copy(left.join(file), found.join(file)).unwrap();
            }
        }
        // A commit that was not yet decided: the beginning of what it would have written.
        let torn: Vec<u8> = (0..rng.usize(0..9000)).map(|_| rng.u8(..)).collect();
        let log = File::options().create(true).append(true).open(found.join("store.db-wal"));
        log.unwrap().write_all(&torn).unwrap();
        drop(process.store.take());
        drop(process);
        crash(sim, NAME, agents);
        fs::remove_dir_all(left).unwrap();
    }

    /// Starts a new process.
    pub(crate) fn restart(&self, sim: &mut Sim<'_>) {
        self.place.trace.say("the collector starts");
        sim.bounce(NAME);
    }

    /// What the collector does every hour: adds up windows, and deletes those past retention, of which there are none.
    pub(crate) fn tidy(&self) {
        let Some(store) = self.store() else { return };
        let now = FIRST_NS + 100_000 * APART_NS;
        let compacted = store.compact(now).map_err(|error| error.to_string());
        let retained = store.retain(FIRST_NS - 1).map_err(|error| error.to_string());
        self.place.trace.say(format_args!("tidied: {compacted:?}, {retained:?}"));
    }

    /// From now on requests arrive once and in time.
    pub(crate) fn calm(&self) {
        self.place.road.is_calm.store(true, Ordering::Relaxed);
    }

    /// Makes the disk full, or not.
    pub(crate) fn fill_disk(&self, is_full: bool) {
        if let Some(store) = self.store() {
            let what = if is_full { "full" } else { "not full any more" };
            self.place.trace.say(format_args!("the collector's disk is {what}"));
            store.limit_pages(if is_full { 1 } else { PAGES_MAX }).unwrap();
        }
    }
}

async fn serve(place: Arc<Place>) -> turmoil::Result {
    let path = {
        let process = place.process.lock().unwrap();
        place.folder.join(process.number.to_string()).join("store.db")
    };
    let store = Arc::new(SqliteStore::open(&path, StoreOptions::default())?);
    place.process.lock().unwrap().store = Some(Arc::clone(&store));
    let service = IngestService::new(store, Arc::new(Metrics::new()), RETENTION_NS).into_server();
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    Server::builder()
        .max_concurrent_streams(16)
        .timeout(Duration::from_secs(60))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .layer(place.road.clone())
        .add_service(service)
        .serve_with_incoming(incoming(listener))
        .await?;
    Ok(())
}
