//! The table against real processes.

use std::process::{Child, Command};

use super::*;

fn table() -> ProcessTable {
    ProcessTable::new(TableOptions { host: "box".to_owned(), service: None, version: None })
}

fn key(tgid: u32) -> ProcessKey {
    ProcessKey { tgid, start_ns: 0 }
}

fn sign(tgid: u32, kind: SignKind) -> ProcessSign {
    let (comm, program) = ("comm".to_owned(), String::new());
    ProcessSign { key: key(tgid), kind, comm, program, cgroup_id: 0 }
}

fn sleeper() -> Child {
    let mut command = Command::new("sleep");
    command.arg("60").env("OTEL_SERVICE_NAME", "sleepy").env("OTEL_RESOURCE_ATTRIBUTES", "a=b");
    let child = command.spawn().expect("sleep can be started");
    wait_until_asleep(child.id());
    child
}

/// Waits until the loader is through and the program waits for what it is meant to wait for.
fn wait_until_asleep(tgid: u32) {
    let started = std::time::Instant::now();
    let mut asleep = 0;
    // Twice in a row, for a loader may sleep for a moment as well.
    while asleep < 2 {
        assert!(started.elapsed().as_secs() < 20, "process {tgid} never slept");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let stat = std::fs::read_to_string(format!("/proc/{tgid}/stat")).unwrap();
        let sleeps = stat.rsplit_once(')').unwrap().1.trim_start().starts_with('S');
        asleep = if sleeps { asleep + 1 } else { 0 };
    }
}

fn end(mut child: Child) {
    child.kill().expect("our child can be killed");
    child.wait().expect("our child can be waited for");
}

#[test]
fn a_process_says_who_it_is() {
    let child = sleeper();
    let mut table = table();
    table.observe(&sign(child.id(), SignKind::Sample));
    let identity = table.identity(key(child.id()));
    end(child);
    assert_eq!(identity.service, "sleepy");
    assert!(identity.labels.contains(&("executable".to_owned(), "sleep".to_owned())));
}

#[test]
fn what_was_learned_stays_until_the_window_of_the_end_is_closed() {
    let child = sleeper();
    let tgid = child.id();
    let mut table = table();
    table.observe(&sign(tgid, SignKind::Sample));
    let address = table.state.borrow().processes[&key(tgid)].image.as_ref().unwrap().first_file();
    end(child);
    table.observe(&sign(tgid, SignKind::Exit));
    // Its last samples may be drained after the sign of its end.
    table.observe(&sign(tgid, SignKind::Sample));
    assert_eq!(table.identity(key(tgid)).service, "sleepy");
    let Located::File { executable, .. } = table.locate(key(tgid), address) else {
        panic!("the file was opened while the process lived");
    };
    assert!(executable.is_elf);
    table.close_window();
    assert_eq!(table.find(tgid), None);
    assert!(table.is_empty());
}

#[test]
fn a_process_that_was_gone_at_first_sight_keeps_its_name() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut table = table();
    table.observe(&sign(child.id(), SignKind::Sample));
    let identity = table.identity(key(child.id()));
    assert_eq!((identity.service.as_str(), identity.version.as_str()), ("comm", "unknown"));
    assert!(matches!(table.locate(key(child.id()), 4096), Located::Exited));
}

/// The sign of a process that runs this program now.
fn exec(tgid: u32, program: &str) -> ProcessSign {
    ProcessSign { program: program.to_owned(), ..sign(tgid, SignKind::Exec) }
}

#[test]
fn a_process_that_was_gone_at_first_sight_is_named_by_its_program() {
    let mut child = Command::new("true").spawn().unwrap();
    let tgid = child.id();
    let zombie = || std::fs::read_to_string(format!("/proc/{tgid}/stat")).unwrap().contains(") Z ");
    while !zombie() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let as_zombie = identity_after_exec(tgid);
    child.wait().unwrap();
    for identity in [as_zombie, identity_after_exec(tgid)] {
        assert_eq!(identity.service, "worker");
        assert!(identity.labels.contains(&("executable".to_owned(), "worker".to_owned())));
    }
}

/// What a new table knows of a process that is said to run `worker`.
fn identity_after_exec(tgid: u32) -> Identity {
    let mut table = table();
    table.observe(&exec(tgid, "worker"));
    table.observe(&sign(tgid, SignKind::Sample));
    table.identity(key(tgid))
}

#[test]
fn a_process_that_lives_is_described_by_itself_and_not_by_the_sign() {
    let child = sleeper();
    let mut table = table();
    table.observe(&exec(child.id(), "worker"));
    let identity = table.identity(key(child.id()));
    end(child);
    assert_eq!(identity.service, "sleepy");
    assert!(identity.labels.contains(&("executable".to_owned(), "sleep".to_owned())));
}

#[test]
fn the_programs_of_many_short_processes_are_known_though_not_all_are_discovered() {
    let mut table = table();
    let last = u32::MAX - 2 * EXEC_DISCOVERIES_MAX;
    for tgid in last..u32::MAX {
        table.observe(&exec(tgid, "worker"));
    }
    assert_eq!(table.len(), EXEC_DISCOVERIES_MAX as usize);
    for tgid in [last, u32::MAX - 1] {
        table.observe(&sign(tgid, SignKind::Sample));
        assert_eq!(table.identity(key(tgid)).service, "worker");
    }
}

#[test]
fn another_program_gives_another_identity() {
    let mut command = Command::new("sh");
    command.args(["-c", "read x; exec sleep 60"]).stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let tgid = child.id();
    wait_until_asleep(tgid);
    let mut table = table();
    table.observe(&sign(tgid, SignKind::Sample));
    let shell = table.identity(key(tgid));
    let address = table.state.borrow().processes[&key(tgid)].image.as_ref().unwrap().first_file();
    drop(child.stdin.take());
    let started = std::time::Instant::now();
    while std::fs::read_to_string(format!("/proc/{tgid}/comm")).unwrap().trim() != "sleep" {
        assert!(started.elapsed().as_secs() < 20, "the shell never ran sleep");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    table.observe(&sign(tgid, SignKind::Exec));
    let sleep = table.identity(key(tgid));
    // A sample from before is still located in the shell.
    let located = table.locate(key(tgid), address);
    end(child);
    assert_ne!(shell.service, sleep.service);
    assert_eq!(sleep.service, "sleep");
    assert!(matches!(located, Located::File { executable, .. } if &*executable.module != "sleep"));
}

#[test]
fn processes_without_a_report_of_their_end_are_forgotten() {
    let child = sleeper();
    let tgid = child.id();
    let mut table = table();
    table.observe(&sign(tgid, SignKind::Sample));
    table.observe(&sign(std::process::id(), SignKind::Sample));
    end(child);
    for _ in 0..SWEEP_WINDOWS {
        table.close_window();
    }
    assert_eq!((table.find(tgid), table.len()), (None, 1));
}

#[test]
fn a_number_alone_finds_the_process_that_has_it() {
    let mut table = table();
    let own = ProcessKey { tgid: std::process::id(), start_ns: 0 };
    let service = table.identity(own).service;
    assert_eq!(table.find(own.tgid), Some(own));
    table.observe(&sign(own.tgid, SignKind::Sample));
    assert_eq!(table.identity(own).service, service);
    assert_eq!(table.len(), 1);
}

#[test]
fn libraries_that_are_shared_are_opened_once() {
    let children = [sleeper(), sleeper(), sleeper()];
    let mut table = table();
    table.observe(&sign(children[0].id(), SignKind::Sample));
    let opened = table.state.borrow().executables.len();
    for child in &children {
        table.observe(&sign(child.id(), SignKind::Sample));
    }
    let opened_by_all = table.state.borrow().executables.len();
    children.into_iter().for_each(end);
    assert!(opened > 1);
    assert_eq!(opened_by_all, opened);
}

#[test]
fn a_sampled_process_that_runs_another_program_is_discovered_however_many_do() {
    let child = sleeper();
    let mut table = table();
    table.observe(&sign(child.id(), SignKind::Sample));
    // Numbers that no process has.
    for number in 0..2 * EXEC_DISCOVERIES_MAX {
        table.observe(&sign(u32::MAX - number, SignKind::Exec));
    }
    assert_eq!(table.len(), 1 + EXEC_DISCOVERIES_MAX as usize);
    table.observe(&sign(child.id(), SignKind::Exec));
    end(child);
    assert_eq!(table.identity(key(child_id(&table))).service, "sleepy");
}

/// The one process of the table that runs something.
fn child_id(table: &ProcessTable) -> u32 {
    let state = table.state.borrow();
    let mut living = state.processes.iter().filter(|(_, process)| process.image.is_some());
    living.next().expect("there is one").0.tgid
}

#[test]
fn the_mappings_of_all_processes_together_are_bounded() {
    let own = std::process::id();
    let mut table = table();
    table.observe(&sign(own, SignKind::Sample));
    let bytes = |table: &ProcessTable| table.state.borrow().images_bytes;
    let of_one = bytes(&table);
    assert!(of_one > 0);
    table.state.get_mut().images_bytes = IMAGES_BYTES_MAX - of_one / 2;
    table.state.get_mut().read_image(key(own));
    assert!(bytes(&table) <= IMAGES_BYTES_MAX);
    table.close_window();
    assert!(bytes(&table) <= of_one / 2, "what was given up gives room again");
}
