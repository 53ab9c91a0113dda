//! A program with all that it has started, ended together.
//!
//! A program leads a process group, and ending the group ends what it has started in the ordinary way. What has left the
//! group (`setsid`, a daemon) is told by a variable that all of them inherit; systems without `/proc` do not show it. What
//! has neither becomes a child of this process when its parent has ended, and ends with the run.
//! When evalctl itself is killed, a [`Guard`] does the same: a small process that waits for its standard input to end.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The variable that programs inherit.
const VARIABLE: &str = "EVALCTL_PROGRAM";

/// How often processes are looked for that were started while others were ended.
const ROUNDS: usize = 100;

/// How long it takes at the most until one that was ended is gone, as a rule.
const PAUSE: Duration = Duration::from_millis(2);

/// Families that are guarded. What loses its parent is nobody's only when none is left: the programs of the others are
/// children of this process, too.
static LIVING: AtomicUsize = AtomicUsize::new(0);

/// The programs of one candidate, told from all other processes of the machine. What is left of them ends when it is
/// dropped.
#[derive(Debug)]
pub struct Family {
    name: String,
    next: AtomicU64,
    /// evalctl itself, to guard them; `None` where nobody does.
    evalctl: Option<PathBuf>,
    guard: OnceLock<Option<Guard>>,
}

impl Family {
    /// One with a name that no other has. `evalctl` is the program that guards it.
    pub fn new(evalctl: Option<PathBuf>) -> Family {
        // What loses its parent becomes a child of this process, which can then end it.
        LIVING.fetch_add(usize::from(evalctl.is_some()), Ordering::AcqRel);
        #[cfg(target_os = "linux")]
        if evalctl.is_some() {
            // Without it, only what hides from the variable gets away.
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        // Its keys are the system's randomness.
        let random = RandomState::new().build_hasher().finish();
        let name = format!("{}-{random:016x}", std::process::id());
        Family { name, next: AtomicU64::new(0), evalctl, guard: OnceLock::new() }
    }

    fn guard(&self) -> Option<&Guard> {
        let start = || self.evalctl.as_ref().and_then(|program| Guard::start(program, &self.name));
        self.guard.get_or_init(start).as_ref()
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        end_all(&self.name);
        if self.evalctl.is_some() && LIVING.fetch_sub(1, Ordering::AcqRel) == 1 {
            end_orphans();
        }
    }
}

/// A program of a family, with all that it has started. They end when it is dropped.
#[derive(Debug)]
pub struct Member {
    family: Arc<Family>,
    name: String,
    leader: u32,
    is_left: bool,
}

impl Member {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        family: &Arc<Family>,
        command: &mut tokio::process::Command,
    ) -> std::io::Result<(tokio::process::Child, Member)> {
        let name = format!("{}.{}", family.name, family.next.fetch_add(1, Ordering::Relaxed));
        // First, so that none goes without it.
        let guard = family.guard();
        // Ctrl-C is ours to understand, too: what is in flight may still be answered.
        let child = command.process_group(0).env(VARIABLE, &name).spawn()?;
        let leader = child.id().ok_or_else(|| std::io::Error::other("it ended at once"))?;
        if let Some(guard) = guard {
            guard.tell('+', leader);
        }
        Ok((child, Member { family: Arc::clone(family), name, leader, is_left: false }))
    }

    /// Leaves what has left its group to the end of the family, which is near.
    pub fn leave(&mut self) {
        self.is_left = true;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        end_group(self.leader);
        if let Some(guard) = self.family.guard() {
            guard.tell('-', self.leader);
        }
        if !self.is_left {
            // Beside the others, which are timed meanwhile. What this misses, the end of the family does not.
            let name = self.name.clone();
            let _ = std::thread::Builder::new().name("offspring".to_owned()).spawn(move || end_all(&name));
        }
    }
}

/// Ends the group that a program leads.
fn end_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // There may be none left.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// Ends every process that bears this name, or of a family any member's, and all that these start meanwhile.
fn end_all(name: &str) {
    let wanted = format!("{VARIABLE}={name}");
    let is_it = |variable: &[u8]| {
        let rest = variable.strip_prefix(wanted.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
    };
    for _ in 0..ROUNDS {
        let bearers: Vec<Pid> = processes()
            .filter(|(_, environment)| environment.split(|byte| *byte == 0).any(is_it))
            .map(|(process, _)| process)
            .collect();
        if bearers.is_empty() {
            return;
        }
        for process in bearers {
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends the children of this process that it has not started: they lost their parents, and bear no name (their
/// environment is another). Servers and guards are this same program, and stay.
fn end_orphans() {
    let Ok(own) = std::fs::read_link("/proc/self/exe") else { return };
    for _ in 0..ROUNDS {
        let children = children();
        let orphans: Vec<Pid> = children
            .into_iter()
            .filter(|child| {
                let place = format!("/proc/{}/exe", child.as_raw_nonzero());
                // What has ended has none.
                std::fs::read_link(place).is_ok_and(|program| program != own)
            })
            .collect();
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            let _ = kill_process(orphan, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The children of all threads of this process.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    numbers.filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect()
}

/// The living processes whose environment can be seen. One that has ended shows none.
fn processes() -> impl Iterator<Item = (Pid, Vec<u8>)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| {
        let process = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        Some((process, std::fs::read(entry.path().join("environ")).ok()?))
    })
}

/// A process that ends a family's programs when this one is gone, however it goes.
#[derive(Debug)]
struct Guard {
    process: Child,
    /// Its end is the sign. It is told of each program that begins and ends.
    told: Option<ChildStdin>,
}

impl Guard {
    /// `None` where it cannot be started: programs end with their run all the same.
    fn start(program: &Path, family: &str) -> Option<Guard> {
        let mut command = Command::new(program);
        command.arg0("evalctl").args(["guard", family]).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // It has to outlive a Ctrl-C at the terminal.
        command.process_group(0);
        let mut process = command.spawn().ok()?;
        let told = process.stdin.take();
        Some(Guard { process, told })
    }

    /// Tells it that a group has begun (`+`) or has been ended (`-`).
    fn tell(&self, what: char, leader: u32) {
        if let Some(mut told) = self.told.as_ref() {
            // Without it the programs are as they would be without a guard.
            let _ = told.write_all(format!("{what}{leader}\n").as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.told = None;
        let _ = self.process.wait();
    }
}

/// What a guard does: notes the groups of a family until its input ends, then ends those that are left.
pub fn guard(input: impl BufRead, family: &str) {
    let mut groups = std::collections::BTreeSet::<u32>::new();
    for line in input.lines().map_while(Result::ok) {
        let leader = |number: &str| number.parse().ok();
        if let Some(leader) = line.strip_prefix('+').and_then(leader) {
            groups.insert(leader);
        } else if let Some(leader) = line.strip_prefix('-').and_then(leader) {
            groups.remove(&leader);
        }
    }
    groups.into_iter().for_each(end_group);
    end_all(family);
}
