//! What is known of each agent that pushed lately: whether it is at it, how much it sent, and how its clock goes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{Bucket, Rate};
use super::clock::is_skewed;
use super::refusal::Refusal;

/// Bytes of decoded pushes that one agent may send. The largest host makes 16 MiB in 10 s; the burst is what a small host
/// gathers in an outage of a day.
const RATE: Rate = Rate { bytes_per_second: 2 << 20, burst_bytes: 64 << 20 };

/// Agents that are remembered at most, 300 bytes each.
const AGENTS_MAX: usize = 16_384;

/// After how long without a push an agent may be forgotten. Its rate has recovered by then.
const GONE_AFTER: Duration = Duration::from_secs(600);

/// All agents that pushed lately.
#[derive(Debug, Default)]
pub(super) struct Agents {
    agents: Mutex<HashMap<String, Agent>>,
}

#[derive(Debug)]
struct Agent {
    is_in_work: bool,
    bucket: Bucket,
    seen: Instant,
    /// Whether its clock was off the last time: it is said once.
    is_skewed: bool,
}

/// The right to have one push stored; given back when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    agents: Arc<Agents>,
    agent: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(agent) = self.agents.lock().get_mut(&self.agent) {
            agent.is_in_work = false;
        }
    }
}

impl Agents {
    /// Begins a push of so many bytes.
    ///
    /// # Errors
    ///
    /// When another push of the agent is in work, or it has sent too much lately.
    pub(super) fn begin(
        self: &Arc<Self>,
        name: &str,
        bytes: usize,
        now: Instant,
    ) -> Result<Turn, Refusal> {
        let mut agents = self.lock();
        if !agents.contains_key(name) {
            make_room(&mut agents, now);
            let bucket = Bucket::new(now);
            let agent = Agent { is_in_work: false, bucket, seen: now, is_skewed: false };
            agents.insert(name.to_owned(), agent);
        }
        let agent = agents.get_mut(name).ok_or(Refusal::Overloaded)?;
        agent.seen = now;
        if agent.is_in_work {
            return Err(Refusal::InWork);
        }
        let after = agent.bucket.wait(RATE, now);
        if !after.is_zero() {
            return Err(Refusal::TooFast { after });
        }
        agent.bucket.take(RATE, bytes, now);
        agent.is_in_work = true;
        drop(agents);
        Ok(Turn { agents: Arc::clone(self), agent: name.to_owned() })
    }

    /// Notes how far an agent's clock is ahead; true when it went wrong or right again since the last push.
    pub(super) fn note_skew(&self, name: &str, skew_ns: i64) -> bool {
        let is_skewed = is_skewed(skew_ns);
        let before = self
            .lock()
            .get_mut(name)
            .map(|agent| std::mem::replace(&mut agent.is_skewed, is_skewed));
        before.unwrap_or(false) != is_skewed
    }

    /// What it holds is right after every step.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Agent>> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets agents that are gone, and if those are few, all that have nothing in work.
fn make_room(agents: &mut HashMap<String, Agent>, now: Instant) {
    if agents.len() < AGENTS_MAX {
        return;
    }
    agents.retain(|_, agent| {
        agent.is_in_work || now.saturating_duration_since(agent.seen) < GONE_AFTER
    });
    if agents.len() >= AGENTS_MAX / 2 {
        agents.retain(|_, agent| agent.is_in_work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agents() -> (Arc<Agents>, Instant) {
        (Arc::default(), Instant::now())
    }

    #[test]
    fn an_agent_has_one_push_in_work() {
        let (agents, now) = agents();
        let turn = agents.begin("a", 1, now).unwrap();
        assert!(matches!(agents.begin("a", 1, now), Err(Refusal::InWork)));
        agents.begin("b", 1, now).unwrap();
        drop(turn);
        agents.begin("a", 1, now).unwrap();
    }

    #[test]
    fn an_agent_that_sends_more_than_its_rate_is_told_when_to_come_again() {
        let (agents, now) = agents();
        for _ in 0..5 {
            agents.begin("a", 16 << 20, now).unwrap();
        }
        let after = match agents.begin("a", 1, now) {
            Err(Refusal::TooFast { after }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after, Duration::from_secs(8));
        agents.begin("b", 1, now).unwrap();
        agents.begin("a", 1, now + after).unwrap();
    }

    #[test]
    fn a_clock_that_goes_wrong_or_right_is_said_once() {
        let (agents, now) = agents();
        drop(agents.begin("a", 1, now));
        let second = 1_000_000_000;
        let said = [0, 11, -46, 10, 0].map(|seconds| agents.note_skew("a", seconds * second));
        assert_eq!(said, [false, true, false, true, false]);
    }

    #[test]
    fn memory_is_bounded_whatever_agents_call_themselves() {
        let (agents, now) = agents();
        let kept = agents.begin("kept", 1, now).unwrap();
        for number in 0..2 * AGENTS_MAX {
            drop(agents.begin(&number.to_string(), 1, now));
        }
        assert!(agents.lock().len() <= AGENTS_MAX);
        assert!(matches!(agents.begin("kept", 1, now), Err(Refusal::InWork)));
        drop(kept);
    }
}
