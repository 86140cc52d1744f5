//! Lets pushes in, before a byte of them is read: so many at once, and fairly between those who send.
//!
//! Whoever comes from one address waits in one line. Places go to the lines in turn, so that a flood makes only its own line
//! longer. When too many wait, the longest line loses its last. Agents behind one proxy share a line, and a rate that is
//! meant for a fleet.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bucket::{Bucket, Rate};
use super::refusal::Refusal;

/// Limits of a door.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most pushes that are received, decoded and written at once. One may take 100 MB decoded, and the store's group commit
    /// gains nothing beyond.
    pub(super) inside_max: usize,
    /// Most of them from one address: the other half is for all others.
    pub(super) inside_of_one_max: usize,
    /// Most that wait outside: each holds a stream with up to 64 KiB that were received unasked. A thousand agents that come
    /// at once after an outage fit.
    pub(super) waiting_max: usize,
    /// Bytes of decoded pushes from one address: forty times what a fleet of a thousand agents behind one proxy sends.
    pub(super) rate: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = Rate { bytes_per_second: 64 << 20, burst_bytes: 512 << 20 };
        Self { inside_max: 32, inside_of_one_max: 16, waiting_max: 1024, rate }
    }
}

/// Addresses whose rate is remembered at most, beside those that are inside or wait.
const PEERS_MAX: usize = 4096;

/// Where pushes come in.
#[derive(Debug)]
pub(super) struct Door {
    limits: Limits,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    inside: usize,
    waiting: usize,
    peers: HashMap<IpAddr, Peer>,
    /// Addresses of whom any waits, in turn.
    turns: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Peer {
    inside: usize,
    line: VecDeque<oneshot::Sender<Place>>,
    bucket: Bucket,
}

/// A push's place inside, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    door: Arc<Door>,
    peer: IpAddr,
}

impl Place {
    /// Counts what the push weighs, against the next ones from the same address.
    pub(super) fn weigh(&self, bytes: usize, now: Instant) {
        if let Some(peer) = self.door.lock().peers.get_mut(&self.peer) {
            peer.bucket.take(self.door.limits.rate, bytes, now);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.door.lock();
        lines.inside -= 1;
        if let Some(peer) = lines.peers.get_mut(&self.peer) {
            peer.inside -= 1;
        }
        self.door.let_in(lines);
    }
}

impl Door {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, lines: Mutex::default() })
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// When the address has sent too much lately, or too many wait already.
    pub(super) async fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        now: Instant,
    ) -> Result<Place, Refusal> {
        let place = self.stand_in_line(line_of(address), now)?;
        // Whoever gives up drops its end, and the place goes to the next. The other end goes when the line was too long.
        place.await.map_err(|_sent_away| Refusal::Overloaded)
    }

    #[expect(clippy::significant_drop_tightening, reason = "`let_in` drops it")]
    fn stand_in_line(
        self: &Arc<Self>,
        address: IpAddr,
        now: Instant,
    ) -> Result<oneshot::Receiver<Place>, Refusal> {
        let mut guard = self.lock();
        let lines = &mut *guard;
        self.forget_idle(lines, now);
        let peer = lines.peers.entry(address).or_insert_with(|| Peer {
            inside: 0,
            line: VecDeque::new(),
            bucket: Bucket::new(now),
        });
        let after = peer.bucket.wait(self.limits.rate, now);
        if !after.is_zero() {
            return Err(Refusal::TooFast { after });
        }
        let own_line = peer.line.len();
        if lines.waiting >= self.limits.waiting_max {
            lines.send_away_from_a_line_longer_than(own_line + 1)?;
        }
        let (give, place) = oneshot::channel();
        if let Some(peer) = lines.peers.get_mut(&address) {
            if peer.line.is_empty() {
                lines.turns.push_back(address);
            }
            peer.line.push_back(give);
            lines.waiting += 1;
        }
        self.let_in(guard);
        Ok(place)
    }

    /// Gives free places to the lines in turn.
    fn let_in(self: &Arc<Self>, mut lines: MutexGuard<'_, Lines>) {
        let mut let_in = Vec::new();
        while lines.inside < self.limits.inside_max
            && let Some((peer, give)) = lines.next(self.limits.inside_of_one_max)
        {
            let_in.push((give, Place { door: Arc::clone(self), peer }));
        }
        // A place that nobody waits for any more comes back at once, which takes the lock.
        drop(lines);
        for (give, place) in let_in {
            drop(give.send(place));
        }
    }

    fn forget_idle(&self, lines: &mut Lines, now: Instant) {
        if lines.peers.len() < PEERS_MAX {
            return;
        }
        let rate = self.limits.rate;
        lines.peers.retain(|_, peer| {
            peer.inside > 0 || !peer.line.is_empty() || !peer.bucket.is_empty(rate, now)
        });
    }

    /// Its counts hold after every step.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Takes the first of the next line whose address has not too many inside already, and counts it as inside.
    fn next(&mut self, inside_of_one_max: usize) -> Option<(IpAddr, oneshot::Sender<Place>)> {
        for _ in 0..self.turns.len() {
            let address = self.turns.pop_front()?;
            let Some(peer) = self.peers.get_mut(&address) else { continue };
            // Those who gave up make no room for others in vain.
            while peer.line.front().is_some_and(oneshot::Sender::is_closed) {
                peer.line.pop_front();
                self.waiting -= 1;
            }
            if peer.line.is_empty() {
                continue;
            }
            if peer.inside >= inside_of_one_max {
                self.turns.push_back(address);
                continue;
            }
            let give = peer.line.pop_front()?;
            self.waiting -= 1;
            self.inside += 1;
            peer.inside += 1;
            if !peer.line.is_empty() {
                self.turns.push_back(address);
            }
            return Some((address, give));
        }
        None
    }

    fn send_away_from_a_line_longer_than(&mut self, length: usize) -> Result<(), Refusal> {
        let longest = self.peers.values_mut().max_by_key(|peer| peer.line.len());
        let longest = longest.filter(|peer| peer.line.len() > length).ok_or(Refusal::Overloaded)?;
        if longest.line.pop_back().is_some() {
            self.waiting -= 1;
        }
        Ok(())
    }
}

/// Who stands in one line: an address, or for IPv6 the 64 bits that one host cannot choose.
fn line_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests;
