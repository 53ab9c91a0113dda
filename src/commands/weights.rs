//! Weights on this machine: a process of `evalctl serve` for as long as a run lasts, measured over HTTP like any service.
//!
//! The process is a child in a group of its own, so that Ctrl-C leaves it to the run, and it ends when its standard input
//! does, so that it is gone however the run ends. What happens to it (out of memory, a crash) is its candidate's failure.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use crate::commands::exit::CommandError;
use crate::commands::plan::Plan;
use crate::commands::{World, own_program};
use crate::provider::{Answer, Auth, Http, HttpProvider, Manner, OpenAiChat, Outgoing, Provider, Refusal};
use crate::suite::spec::{LocalSpec, MaxTokensField, Structured};
use crate::types::{Failure, Request};
use crate::util::clock::Clock;
use crate::util::digest::{Digest, Hasher};
use crate::util::text::{shorten, visible};

/// Bytes kept of what a server said last.
const KEPT: usize = 4096;

/// How long a server that was told to end may take; then it is killed.
const ENDING: Duration = Duration::from_secs(2);

/// What a candidate's server is started with. Candidates for which all of it is the same share one.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    path: PathBuf,
    shown: String,
    parallel: u32,
    threads: Option<u32>,
    context: Option<u32>,
    structured: Structured,
}

impl Weights {
    /// How its answers are held to a schema.
    pub fn structured(&self) -> Structured {
        self.structured
    }

    /// As the suite says, with the path made one from here.
    pub fn new(spec: &LocalSpec, path: PathBuf, structured: Structured) -> Weights {
        let LocalSpec { weights, parallel, threads, context } = spec;
        Weights { path, shown: weights.clone(), parallel: *parallel, threads: *threads, context: *context, structured }
    }

    fn shares_server(&self, other: &Weights) -> bool {
        let key = |weights: &Weights| (weights.parallel, weights.threads, weights.context);
        let place = |weights: &Weights| weights.path.canonicalize().unwrap_or_else(|_| weights.path.clone());
        key(self) == key(other) && place(self) == place(other)
    }
}

/// The servers of a run.
#[derive(Default)]
pub struct Servers(Vec<Arc<Server>>);

impl Servers {
    /// Ends all of them. Those that go out of scope end, too.
    pub fn end(&self) {
        for server in &self.0 {
            server.end();
        }
    }
}

/// Starts what the plan's `local` candidates need, waits until it is ready, and puts it in place.
///
/// # Errors
/// When weights cannot be loaded: all such candidates together.
pub fn start(plan: &mut Plan, is_quiet: bool, world: &mut World<'_>) -> Result<Servers, CommandError> {
    let mut starting: Vec<(Weights, Result<Starting, String>)> = Vec::new();
    let wanted: Vec<(String, Weights)> = plan
        .candidates
        .iter()
        .filter_map(|candidate| Some((candidate.id.to_string(), candidate.weights.clone()?)))
        .collect();
    for (id, weights) in &wanted {
        if !starting.iter().any(|(other, _)| other.shares_server(weights)) {
            if !is_quiet {
                say(world, &format!("loading {} for `{}`", visible(&weights.shown), visible(id)));
            }
            starting.push((weights.clone(), Starting::new(weights)));
        }
    }
    let clock = Clock::new();
    let mut ready = Vec::new();
    let mut faults = Vec::new();
    for (weights, starting) in starting {
        match starting.and_then(Starting::ready) {
            Ok((server, told)) => ready.push((weights, Arc::new(server), told)),
            Err(why) => {
                let users = wanted.iter().filter(|(_, other)| other.shares_server(&weights));
                let users: Vec<String> = users.map(|(id, _)| format!("`{}`", visible(id))).collect();
                faults.push(format!("candidate {}: {why}", users.join(", ")));
            }
        }
    }
    if !faults.is_empty() {
        return Err(CommandError::usage(
            faults.join("\nerror: "),
            "`evalctl serve WEIGHTS` loads weights alone; README.md says which it takes",
        ));
    }
    if !is_quiet && !ready.is_empty() {
        say(world, &format!("weights are ready after {:.1} s", clock.now().as_secs_f64()));
    }
    for candidate in &mut plan.candidates {
        let Some(weights) = &candidate.weights else { continue };
        let Some((_, server, told)) = ready.iter().find(|(other, ..)| other.shares_server(weights)) else { continue };
        candidate.identity = identity(candidate.identity, told);
        candidate.facts = Some(told.recorded());
        candidate.live = Some(Arc::new(Served::new(weights, told, Arc::clone(server))?));
    }
    Ok(Servers(ready.into_iter().map(|(_, server, _)| server).collect()))
}

/// The same files with the same settings answer the same, wherever they lie.
fn identity(of_suite: Digest, told: &Told) -> Digest {
    let files = told.facts.get("files").cloned().unwrap_or_default();
    Hasher::default().part(&of_suite.0).part(files.to_string().as_bytes()).finish()
}

/// A line for people. That nobody can read it is no reason to stop.
fn say(world: &mut World<'_>, text: &str) {
    let _ = writeln!(world.err, "{text}");
}

/// What a server says when it is ready.
#[derive(Debug, Deserialize)]
struct Told {
    ready: String,
    model: String,
    parallel: u32,
    threads: u32,
    facts: Value,
}

impl Told {
    /// What the manifest keeps of it.
    fn recorded(&self) -> Value {
        let mut facts = self.facts.clone();
        if let Some(facts) = facts.as_object_mut() {
            facts.insert("parallel".to_owned(), self.parallel.into());
            facts.insert("threads".to_owned(), self.threads.into());
        }
        facts
    }
}

/// A server that is still loading.
struct Starting {
    server: Server,
    output: BufReader<std::process::ChildStdout>,
}

impl Starting {
    fn new(weights: &Weights) -> Result<Starting, String> {
        if !cfg!(feature = "local") {
            return Err("this evalctl was built without the feature `local`".to_owned());
        }
        let program = own_program().ok_or("evalctl does not know where it is")?;
        let mut command = Command::new(program);
        command.arg0("evalctl").arg("serve").args(["--port", "0", "--announce", "--with-parent"]);
        command.args(["--parallel", &weights.parallel.to_string()]);
        if let Some(threads) = weights.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        if let Some(context) = weights.context {
            command.args(["--context", &context.to_string()]);
        }
        command.arg("--").arg(&weights.path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("its server could not be started: {error}"))?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err("its server could not be started with its pipes".to_owned());
        };
        let said = Arc::<Mutex<VecDeque<u8>>>::default();
        let reader = {
            let said = Arc::clone(&said);
            std::thread::spawn(move || keep_last(errors, &said))
        };
        let server =
            Server { child: Mutex::new(child), input: Mutex::new(Some(input)), said, reader: Mutex::new(Some(reader)) };
        Ok(Starting { server, output: BufReader::new(output) })
    }

    fn ready(mut self) -> Result<(Server, Told), String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        if let (Ok(1..), Ok(told)) = (read, serde_json::from_str(&line)) {
            return Ok((self.server, told));
        }
        Err(self.server.last_words())
    }
}

/// Keeps the last of what a server says, and keeps it from waiting for a reader.
fn keep_last(mut errors: impl Read, said: &Mutex<VecDeque<u8>>) {
    let mut block = [0; 1024];
    loop {
        match errors.read(&mut block) {
            Ok(0) => return,
            Ok(read) => {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend(&block[..read]);
                let over = said.len().saturating_sub(KEPT);
                said.drain(..over);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// A process of `evalctl serve`.
struct Server {
    child: Mutex<Child>,
    /// Held open: when it closes, the process ends.
    input: Mutex<Option<ChildStdin>>,
    said: Arc<Mutex<VecDeque<u8>>>,
    reader: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Server {
    fn status(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
    }

    /// Why it answers no more; `None` while it lives.
    fn ended(&self) -> Option<String> {
        let status = self.status()?;
        let how = match status.signal() {
            Some(9) => "was killed (signal 9), as the system does when memory runs out".to_owned(),
            _ => format!("has ended ({status})"),
        };
        Some(match self.said() {
            said if said.is_empty() => format!("the process that serves the weights {how}"),
            said => format!("the process that serves the weights {how}; it last said: {said}"),
        })
    }

    fn said(&self) -> String {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(said.make_contiguous()).trim().to_owned();
        text.strip_prefix("error: ").map(str::to_owned).unwrap_or(text)
    }

    /// What a server that did not become ready said; it has ended or is ended now.
    fn last_words(&self) -> String {
        // It has closed its output, so it is about to end by itself.
        let status = self.end();
        if let Some(reader) = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It ends with the process.
            let _ = reader.join();
        }
        match (status.and_then(|status| status.code()), self.said()) {
            (Some(2), said) if !said.is_empty() => said,
            _ => self.ended().unwrap_or_else(|| "its server did not start".to_owned()),
        }
    }

    /// Ends the process, by asking first.
    fn end(&self) -> Option<ExitStatus> {
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        let clock = Clock::new();
        while clock.now() < ENDING {
            if let Some(status) = self.status() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has just ended needs no killing.
        let _ = child.kill();
        child.wait().ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A candidate whose weights a process of ours serves.
struct Served {
    http: HttpProvider,
    server: Arc<Server>,
}

impl Served {
    fn new(weights: &Weights, told: &Told, server: Arc<Server>) -> Result<Served, CommandError> {
        let manner = Manner { model: told.model.clone(), is_streamed: true, structured: weights.structured };
        let dialect = Box::new(OpenAiChat { manner, max_tokens_field: MaxTokensField::MaxTokens });
        let http = HttpProvider::new(&Http::default(), dialect, &told.ready, &BTreeMap::new(), Auth::None);
        Ok(Served { http: http.map_err(CommandError::Internal)?, server })
    }
}

impl Provider for Served {
    fn encode(&self, request: &Request) -> Bytes {
        self.http.encode(request)
    }

    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
        async move {
            let opened = self.http.open(outgoing).await;
            match (&opened, self.server.ended()) {
                // There will be no connection any more, so there is no use in trying again.
                (Err(Refusal { failure: Failure::Connection { .. } | Failure::Lost { .. }, .. }), Some(why)) => {
                    Err(Failure::Program { detail: shorten(&why, KEPT) }.into())
                }
                _ => opened,
            }
        }
        .boxed()
    }
}
