//! Who gets in, in which order, and who is sent away.

use std::time::Duration;

use tokio::task::yield_now;

use super::*;

const FLOOD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const QUIET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn door(inside_max: usize, inside_of_one_max: usize, waiting_max: usize) -> Arc<Door> {
    let rate = Rate { bytes_per_second: 1000, burst_bytes: 1000 };
    Door::new(Limits { inside_max, inside_of_one_max, waiting_max, rate })
}

/// Stands in line without waiting.
fn queue(door: &Arc<Door>, address: IpAddr) -> oneshot::Receiver<Place> {
    door.stand_in_line(address, Instant::now()).unwrap()
}

#[tokio::test]
async fn a_long_line_makes_nobody_else_wait() {
    let door = door(2, 2, 100);
    let mut inside: Vec<Place> = Vec::new();
    let mut flood: VecDeque<_> = (0..50).map(|_| queue(&door, FLOOD)).collect();
    for _ in 0..2 {
        inside.push(flood.pop_front().unwrap().await.unwrap());
    }
    let mut quiet = queue(&door, QUIET);
    assert!(quiet.try_recv().is_err(), "all places are taken");
    drop(inside.pop());
    // One of the flood was before it in turn; then it is the other's.
    let next = flood.pop_front().unwrap().await.unwrap();
    assert!(quiet.try_recv().is_err());
    drop(next);
    quiet.await.unwrap();
}

#[tokio::test]
async fn one_address_leaves_places_for_the_others() {
    let door = door(4, 2, 100);
    let mut flood: Vec<_> = (0..10).map(|_| queue(&door, FLOOD)).collect();
    let inside = flood.iter_mut().filter_map(|place| place.try_recv().ok()).collect::<Vec<_>>();
    assert_eq!(inside.len(), 2);
    door.enter(QUIET, Instant::now()).await.unwrap();
}

#[tokio::test]
async fn when_too_many_wait_the_longest_line_loses_its_last() {
    let door = door(1, 1, 4);
    let mut held = queue(&door, FLOOD);
    let mut flood: Vec<_> = (0..4).map(|_| queue(&door, FLOOD)).collect();
    assert!(matches!(door.stand_in_line(FLOOD, Instant::now()), Err(Refusal::Overloaded)));
    let mut quiet = queue(&door, QUIET);
    assert!(matches!(flood[3].try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    drop(held.try_recv().unwrap());
    let place = flood[0].try_recv().unwrap();
    assert!(quiet.try_recv().is_err());
    drop(place);
    quiet.try_recv().unwrap();
}

#[tokio::test]
async fn who_gives_up_leaves_its_place_to_the_next() {
    let door = door(1, 1, 100);
    let first = door.enter(FLOOD, Instant::now()).await.unwrap();
    let waiting = (0..5).map(|_| queue(&door, QUIET)).collect::<Vec<_>>();
    let entering = tokio::spawn({
        let door = Arc::clone(&door);
        async move { door.enter(QUIET, Instant::now()).await }
    });
    yield_now().await;
    drop(waiting);
    drop(first);
    drop(entering.await.unwrap().unwrap());
    let left = |lines: &Lines| (lines.inside, lines.waiting, lines.turns.len());
    assert_eq!(left(&door.lock()), (0, 0, 0));
}

#[tokio::test]
async fn an_address_that_sends_too_much_is_told_when_to_come_again() {
    let door = door(4, 4, 4);
    let now = Instant::now();
    door.enter(FLOOD, now).await.unwrap().weigh(3000, now);
    let refused = door.enter(FLOOD, now).await;
    assert!(matches!(refused, Err(Refusal::TooFast { after }) if after == Duration::from_secs(2)));
    door.enter(QUIET, now).await.unwrap();
    door.enter(FLOOD, now + Duration::from_secs(2)).await.unwrap();
}

#[tokio::test]
async fn addresses_that_are_gone_are_forgotten() {
    let door = door(4, 4, 4);
    let now = Instant::now();
    for number in 0..3 * PEERS_MAX as u32 {
        drop(door.enter(std::net::Ipv4Addr::from_bits(number).into(), now).await.unwrap());
    }
    assert!(door.lock().peers.len() <= PEERS_MAX);
}

#[test]
fn one_host_has_one_line_whichever_of_its_addresses_it_takes() {
    let line = |text: &str| line_of(text.parse().unwrap());
    assert_eq!(line("2001:db8:1:2:3:4:5:6"), line("2001:db8:1:2::1"));
    assert_ne!(line("2001:db8:1:3::1"), line("2001:db8:1:2::1"));
    assert_eq!(line("::ffff:10.0.0.1"), FLOOD);
}
