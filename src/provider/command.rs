//! A program that answers: one JSON request a line on its standard input, one JSON answer a line on its standard
//! output, for as long as it lives.
//!
//! A request is `{"id", "messages", "tools", "schema", "params", "row"}`; an answer is `{"id", "text", "tool_calls",
//! "finish", "usage", "model", "error"}`, of which only `text`, `tool_calls` or `error` must be there. An answer with an
//! `id` is one to that request and to no other, if the first answer of its process echoed the one of its request. There
//! are as many processes as there are requests in flight; one that fails, or whose request is given up, is killed with
//! all that it has started, and so are all at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use crate::provider::offspring::{Family, Member};
use crate::provider::wire::QUOTE;
use crate::provider::{Answer, Event, Outgoing, Provider, Refusal, out_of_files, plain};
use crate::suite::spec::CommandSpec;
use crate::types::{Failure, Message, Params, Request, Row};
use crate::util::text::shorten;

/// An answer line that is longer is refused.
const MAX_LINE: usize = 64 << 20;

/// How many bytes of what a program said on its standard error are kept for the message.
const KEPT: usize = 4096;

/// How many characters of what a program said last a failure keeps.
const LAST_WORDS: usize = 300;

/// How long a program that has closed its output may take to end, and to say why.
const ENDING: Duration = Duration::from_secs(1);

/// A candidate that is a program.
pub struct Command {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    max_line: usize,
    idle: Mutex<Vec<Process>>,
    requests: AtomicU64,
    family: Arc<Family>,
}

impl Drop for Command {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().for_each(|process| process.member.leave());
    }
}

impl Command {
    /// A program that runs in `folder` with this environment and no other. A program with a slash in it is relative to
    /// `folder`, any other is looked for in the environment's `PATH`. `evalctl` is the program that sees to it that they end
    /// even if this process is killed.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn new(
        spec: &CommandSpec,
        folder: &Path,
        environment: BTreeMap<String, String>,
        evalctl: Option<PathBuf>,
    ) -> Result<Command, String> {
        let (name, arguments) = spec.program.split_first().ok_or("`program` is empty")?;
        // The program runs in `folder`, so its path must not depend on ours.
        let folder = std::path::absolute(folder).map_err(|error| format!("the suite's folder has no path: {error}"))?;
        let program = if name.contains('/') {
            Some(folder.join(name)).filter(|path| is_program(path)).ok_or("is no program that can be run")
        } else {
            let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
            let mut found = std::env::split_paths(path).map(|place| folder.join(place).join(name));
            found.find(|path| is_program(path)).ok_or("is in no folder of `PATH`")
        };
        let program = program.map_err(|why| format!("`{}` {why}", shorten(name, 100)))?;
        Ok(Command {
            program,
            arguments: arguments.to_vec(),
            environment,
            folder,
            max_line: MAX_LINE,
            idle: Mutex::default(),
            requests: AtomicU64::new(0),
            family: Arc::new(Family::new(evalctl)),
        })
    }

    /// Puts a request to a process: one that waits for it, or a new one.
    async fn reply(&self, line: &[u8]) -> Result<(Process, Vec<u8>), Failure> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut process) = idle else {
                let mut process = self.start()?;
                let reply = process.answer(line, self.max_line).await.map_err(|lost| failed(lost.detail))?;
                return Ok((process, reply));
            };
            // One that has said what it was not asked is not asked again.
            if !process.is_waiting() {
                continue;
            }
            match process.answer(line, self.max_line).await {
                Ok(reply) => return Ok((process, reply)),
                // It had ended when the request came: its successor is asked instead.
                Err(Lost { has_ended_well: true, .. }) => {}
                Err(Lost { detail, has_ended_well: false }) => return Err(failed(detail)),
            }
        }
    }

    fn start(&self) -> Result<Process, Failure> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A request that is given up takes its process with it, which would else answer out of turn.
            .kill_on_drop(true);
        let started = Member::start(&self.family, &mut command);
        let (mut child, member) = started.map_err(|error| {
            out_of_files(&error).unwrap_or_else(|| failed(format!("it could not be started: {error}")))
        })?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => Ok(Process {
                member,
                child,
                input,
                output: BufReader::new(output),
                errors,
                said: Vec::new(),
                echoes: None,
            }),
            _ => Err(failed("it could not be started with its pipes".to_owned())),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Vec<Event>, Failure> {
        let id = self.requests.fetch_add(1, Ordering::Relaxed);
        let question = Question {
            id,
            messages: &request.messages,
            tools: request.tools.as_deref(),
            schema: request.output_schema.as_deref(),
            params: &request.params,
            row: &request.row,
        };
        let mut line = serde_json::to_vec(&question).expect("every key is a string and nothing else in it can fail");
        line.push(b'\n');
        let (mut process, reply) = self.reply(&line).await?;
        let events = read(&reply, id, &mut process.echoes).map_err(failed)?;
        // One that has ended is let go at once, with all that it has left behind.
        if matches!(process.child.try_wait(), Ok(Some(_)) | Err(_)) {
            return events.map_err(failed);
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        events.map_err(failed)
    }
}

impl Provider for Command {
    fn open<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Answer, Refusal>> {
        async move {
            match self.ask(outgoing.request).await {
                Ok(events) => Ok(Answer::new(stream::iter(events.into_iter().map(Ok)).boxed(), false)),
                Err(failure) => Err(failure.into()),
            }
        }
        .boxed()
    }

    fn files(&self) -> u64 {
        // Three pipes, a handle of the process, and their other ends while it is started.
        8
    }
}

fn failed(detail: String) -> Failure {
    Failure::Program { detail }
}

/// Whether a path is a file that may be run.
fn is_program(path: &Path) -> bool {
    let Ok(facts) = path.metadata() else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        facts.is_file() && facts.permissions().mode() & 0o111 != 0
    }
    #[cfg(not(unix))]
    {
        facts.is_file()
    }
}

#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    messages: &'a [Message],
    tools: Option<&'a Value>,
    schema: Option<&'a Value>,
    params: &'a Params,
    row: &'a Row,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    text: Value,
    #[serde(default)]
    tool_calls: Value,
    #[serde(default)]
    finish: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    error: Value,
}

/// Reads an answer line. The inner error is one that the program reports in good form; after the outer one it is not
/// trusted any more.
fn read(line: &[u8], id: u64, echoes: &mut Option<bool>) -> Result<Result<Vec<Event>, String>, String> {
    let reply: Reply = serde_json::from_slice(line).map_err(|error| {
        format!("its answer is not the JSON that is wanted ({error}): {}", String::from_utf8_lossy(line).trim_end())
    })?;
    let told = number_of(&reply.id);
    // A program may have ids of its own: what it says first shows whether it echoes ours.
    if *echoes.get_or_insert(told == Some(id)) && told.is_some_and(|told| told != id) {
        return Err(format!(
            "its answer has the id {}, and the request had {id}",
            shorten(&reply.id.to_string(), QUOTE)
        ));
    }
    if !plain::is_blank(&reply.error) && reply.error != Value::Bool(false) {
        let said = reply.error.get("message").unwrap_or(&reply.error);
        return Ok(Err(plain::text(said).unwrap_or_default()));
    }
    let calls = plain::tool_calls("tool_calls", &reply.tool_calls)?;
    let text = plain::text(&reply.text);
    if text.is_none() && calls.is_empty() {
        return Err("its answer has neither `text` nor `tool_calls` nor `error`".to_owned());
    }
    let mut events: Vec<Event> = text.into_iter().map(Event::Text).chain(calls).collect();
    events.extend(plain::finish("finish", &reply.finish)?);
    events.push(Event::Usage(plain::usage("usage", &reply.usage)?));
    events.extend(reply.model.filter(|model| !model.is_empty()).map(Event::Model));
    Ok(Ok(events))
}

/// The id that an answer echoes, if it can be one of ours.
fn number_of(id: &Value) -> Option<u64> {
    match id {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Why there is no answer line.
struct Lost {
    detail: String,
    /// Whether the program ended of itself, without a word and without a fault.
    has_ended_well: bool,
}

impl From<String> for Lost {
    fn from(detail: String) -> Lost {
        Lost { detail, has_ended_well: false }
    }
}

/// A running program and its pipes. Dropping it kills the program.
struct Process {
    /// Before `child`, so that the group is ended before the number of its leader is given back.
    member: Member,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    errors: ChildStderr,
    /// The end of what it said on its standard error.
    said: Vec<u8>,
    /// Whether its answers echo the ids of their requests; unknown before the first.
    echoes: Option<bool>,
}

impl Process {
    /// Whether the program lives and has said nothing since its last answer.
    fn is_waiting(&mut self) -> bool {
        self.output.fill_buf().now_or_never().is_none()
    }

    /// Hands over a request line and waits for the answer line. Standard error is read all the while, so that a
    /// program never waits for us to do so.
    async fn answer(&mut self, line: &[u8], max_line: usize) -> Result<Vec<u8>, Lost> {
        let Process { child, input, output, errors, said, .. } = self;
        let answer = {
            let mut written = pin!(
                async {
                    // A program that has ended cannot be written to; reading tells that, and tells it better.
                    let _ = input.write_all(line).await;
                    let _ = input.flush().await;
                }
                .fuse()
            );
            let mut answer = pin!(read_line(output, max_line));
            let mut heard = pin!(drain(errors, said).fuse());
            // What a program has started may hold its output open when it has ended.
            let mut ended = pin!(
                async {
                    let _ = child.wait().await;
                    tokio::time::sleep(ENDING).await;
                }
                .fuse()
            );
            let mut is_written = false;
            loop {
                tokio::select! {
                    answer = &mut answer => {
                        break match answer {
                            Ok(Some(_)) if !is_written => Err("it answered before it had read its request".to_owned()),
                            other => other,
                        };
                    }
                    () = &mut written, if !is_written => is_written = true,
                    () = &mut heard => {}
                    () = &mut ended => break Ok(None),
                }
            }
        };
        match answer? {
            Some(line) if self.output.buffer().is_empty() => Ok(line),
            Some(_) => Err("it answered one request with more than one line".to_owned().into()),
            None => Err(self.ended().await),
        }
    }

    /// What a program left behind that closed its output instead of answering.
    async fn ended(&mut self) -> Lost {
        let Process { child, errors, said, .. } = self;
        // A grandchild may hold the pipe open: its words are not waited for.
        let _ = tokio::time::timeout(ENDING, drain(errors, said)).await;
        let status = tokio::time::timeout(ENDING, child.wait()).await.ok().and_then(Result::ok);
        let has_ended_well = status.is_some_and(|status| status.success());
        let what = match status {
            Some(status) if has_ended_well => {
                format!("it ended ({status}) instead of answering; it must read requests until its input ends")
            }
            Some(status) => format!("it ended ({status}) instead of answering"),
            None => "it closed its output instead of answering".to_owned(),
        };
        let said = String::from_utf8_lossy(said);
        let detail = match said.trim() {
            "" => what,
            // What it said last tells most.
            said => format!("{what}; it last said: {}", last(said, LAST_WORDS)),
        };
        Lost { detail, has_ended_well }
    }
}

/// The last characters of a text, with `…` where something was cut.
fn last(text: &str, count: usize) -> String {
    match text.char_indices().rev().nth(count.saturating_sub(1)) {
        Some((start, _)) if start > 0 => format!("…{}", &text[start..]),
        _ => text.to_owned(),
    }
}

/// Reads a line; `None` when the output ends before one has. The line has no line feed at its end.
async fn read_line(output: &mut BufReader<ChildStdout>, max_line: usize) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    loop {
        let block = output.fill_buf().await.map_err(|error| format!("its output could not be read: {error}"))?;
        if block.is_empty() {
            return Ok(None);
        }
        let end = block.iter().position(|byte| *byte == b'\n');
        let piece = &block[..end.unwrap_or(block.len())];
        if line.len() + piece.len() > max_line {
            return Err(format!("its answer is longer than {} MiB", max_line >> 20));
        }
        line.extend_from_slice(piece);
        let used = piece.len() + usize::from(end.is_some());
        output.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Reads standard error to its end and keeps the last of it.
async fn drain(errors: &mut ChildStderr, said: &mut Vec<u8>) {
    let mut block = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut block).await {
        said.extend_from_slice(&block[..count]);
        if said.len() > KEPT {
            said.drain(..said.len() - KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::provider::{Attempted, collect};
    use crate::types::{Content, Finish, Role};
    use crate::util::clock::Clock;
    use crate::util::secret::{Redactor, Secret};

    /// A candidate that is a shell script.
    fn shell(script: &str) -> Command {
        let spec =
            CommandSpec { program: ["sh", "-c", script].map(str::to_owned).to_vec(), env: vec!["TOKEN".to_owned()] };
        let path = std::env::var("PATH").unwrap();
        let environment = [("PATH", path.as_str()), ("TOKEN", "tok-12345")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Command::new(&spec, Path::new("/"), environment.into(), None).unwrap()
    }

    async fn ask(command: &Command, text: &str, limit: Duration) -> Attempted {
        let message = Message { role: Role::User, content: Content::Text(text.into()), more: Row::new() };
        let request = Request {
            messages: Arc::new([message]),
            tools: None,
            output_schema: None,
            params: Arc::new(Params { seed: Some(7), ..Params::default() }),
            row: Arc::new(json!({"id": 1}).as_object().unwrap().clone()),
        };
        let redactor = Redactor::new([Secret::new("tok-12345")]);
        collect(command, &Outgoing::of(command, &request), limit, Clock::new(), &redactor).await
    }

    const LONG: Duration = Duration::from_secs(20);

    async fn detail(command: &Command) -> String {
        match ask(command, "x", LONG).await.outcome.unwrap_err().failure {
            Failure::Program { detail } => detail,
            other => panic!("{other:?}"),
        }
    }

    fn idle(command: &Command) -> usize {
        command.idle.lock().unwrap().len()
    }

    #[tokio::test]
    async fn one_process_answers_request_after_request() {
        // Gives back its process id and the request, as JSON text.
        let echo = r#"while read -r line; do printf '{"model":"%s","text":%s,"finish":"stop"}\n' $$ "$line"; done"#;
        let command = shell(echo);
        let first = ask(&command, "one\n\u{2028}", LONG).await;
        assert!(first.timing.unwrap().chunks.is_empty(), "nothing is known of its first token");
        let first = first.outcome.unwrap();
        let wanted = json!({
            "id": 0, "messages": [{"role": "user", "content": "one\n\u{2028}"}], "tools": null, "schema": null,
            "params": {"seed": 7}, "row": {"id": 1},
        });
        assert_eq!((serde_json::from_str::<Value>(&first.text).unwrap(), first.finish), (wanted, Some(Finish::Stop)));
        let second = ask(&command, "two", LONG).await.outcome.unwrap();
        assert_eq!((second.model_echo, idle(&command)), (first.model_echo.clone(), 1));
        let both = futures_util::future::join(ask(&command, "a", LONG), ask(&command, "b", LONG)).await;
        assert_ne!(both.0.outcome.unwrap().model_echo, both.1.outcome.unwrap().model_echo);
        assert_eq!(idle(&command), 2);
    }

    #[tokio::test]
    async fn a_whole_answer_is_read() {
        let answer = json!({
            "text": {"a": 1}, "tool_calls": [{"name": "f", "arguments": {}}], "finish": "length", "model": "m",
            "usage": {"input_tokens": 3, "output_tokens": 2}, "error": null, "more": 1,
        });
        let command = shell(&format!("while read -r line; do echo '{answer}'; done"));
        let response = ask(&command, "x", LONG).await.outcome.unwrap();
        assert_eq!((response.text.as_str(), response.finish), ("{\"a\":1}", Some(Finish::Length)));
        assert_eq!((response.usage.input_tokens, response.model_echo.as_deref()), (Some(3), Some("m")));
        assert_eq!(response.tool_calls[0].name, "f");
    }

    #[tokio::test]
    async fn what_went_wrong_is_told_without_secrets() {
        let crash = shell("read -r line; echo 'no such model: '$TOKEN >&2; exit 3");
        let said = detail(&crash).await;
        assert!(said.contains("exit status: 3") && said.ends_with("no such model: [key]"), "{said}");
        let silent = shell("exec true");
        assert!(detail(&silent).await.starts_with("it ended (exit status: 0) instead of answering; it must read"));
        let prose = shell("read -r line; echo Sure; sleep 60");
        assert!(detail(&prose).await.starts_with("its answer is not the JSON that is wanted"));
        let empty = shell("read -r line; echo '{}'; sleep 60");
        assert!(detail(&empty).await.contains("neither `text`"));
        let odd = shell(r#"read -r line; echo '{"text":"x","usage":{"input_tokens":-1}}'; sleep 60"#);
        assert!(detail(&odd).await.starts_with("`usage/input_tokens`"));
        let twice = shell(r#"read -r line; printf '{"text":"x"}\n{"text":"y"}\n'; sleep 60"#);
        assert!(detail(&twice).await.contains("more than one line"));
        for command in [crash, silent, prose, empty, odd, twice] {
            assert_eq!(idle(&command), 0, "none of these is asked again");
        }
        let polite = shell(r#"while read -r line; do echo '{"error":{"message":"quota"}}'; done"#);
        assert_eq!((detail(&polite).await.as_str(), idle(&polite)), ("quota", 1));
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_takes_its_process_with_it() {
        let command =
            shell(r#"while read -r line; do case "$line" in *slow*) sleep 30;; esac; echo '{"text":"x"}'; done"#);
        ask(&command, "quick", LONG).await.outcome.unwrap();
        let late = ask(&command, "slow", Duration::from_millis(100)).await;
        assert!(matches!(late.outcome.unwrap_err().failure, Failure::Timeout { .. }));
        assert_eq!(idle(&command), 0);
        assert_eq!(ask(&command, "quick", LONG).await.outcome.unwrap().text, "x");
    }

    #[tokio::test]
    async fn neither_long_requests_nor_chatter_block() {
        let chatty = shell(
            r#"while read -r line; do head -c 300000 /dev/zero | tr '\0' e >&2; echo "{\"text\":\"${#line}\"}"; done"#,
        );
        let text = "q".repeat(300_000);
        for _ in 0..2 {
            let length: usize = ask(&chatty, &text, LONG).await.outcome.unwrap().text.parse().unwrap();
            assert!(length > 300_000);
        }
        let early = shell(r#"echo '{"text":"x"}'; sleep 60"#);
        match ask(&early, &text, LONG).await.outcome.unwrap_err().failure {
            Failure::Program { detail } => assert!(detail.contains("before it had read"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_answer_without_end_is_refused() {
        let mut endless = shell("read -r line; exec cat /dev/zero");
        endless.max_line = 1 << 20;
        assert_eq!(detail(&endless).await, "its answer is longer than 1 MiB");
    }

    #[tokio::test]
    async fn a_process_that_ended_while_idle_is_replaced() {
        let once = shell(r#"read -r line; echo '{"text":"x"}'"#);
        for _ in 0..20 {
            assert_eq!(ask(&once, "x", LONG).await.outcome.unwrap().text, "x");
        }
        let faulty = shell(r#"read -r line; echo '{"text":"x"}'; read -r line; exit 4"#);
        assert_eq!(ask(&faulty, "x", LONG).await.outcome.unwrap().text, "x");
        assert!(detail(&faulty).await.contains("exit status: 4"), "a fault is told, not passed over");
    }

    #[test]
    fn programs_are_looked_for_before_the_first_request() {
        let new = |program: &[&str], path: &str| {
            let spec =
                CommandSpec { program: program.iter().map(|part| (*part).to_owned()).collect(), env: Vec::new() };
            Command::new(&spec, Path::new("/"), BTreeMap::from([("PATH".to_owned(), path.to_owned())]), None)
                .map(|it| it.program.clone())
        };
        assert_eq!(new(&[], "/bin"), Err("`program` is empty".to_owned()));
        assert_eq!(new(&["sh"], "/nowhere"), Err("`sh` is in no folder of `PATH`".to_owned()));
        assert_eq!(new(&["./bin/sh"], ""), Ok(PathBuf::from("/bin/sh")));
        assert_eq!(new(&["etc/passwd"], ""), Err("`etc/passwd` is no program that can be run".to_owned()));
    }

    #[test]
    fn the_last_words_count() {
        assert_eq!((last("añb", 2), last("ab", 5), last("", 3)), ("…ñb".to_owned(), "ab".to_owned(), String::new()));
    }
}
