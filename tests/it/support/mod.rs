//! What the integration tests share: a fresh folder, the program in a clean environment, a loopback model.

pub mod loopback;
pub mod server;
#[cfg(feature = "local")]
pub mod weights;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// No command of these tests takes longer, on the slowest machine; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// A folder of its own for a test, removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("evalctl-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and the folders it stands in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.0.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The program with these arguments, in this folder, with next to nothing in its environment.
    pub fn evalctl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evalctl"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.0)
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        finish(self.evalctl(arguments))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Output {
    /// Fails, with everything that was said, unless the program ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }
}

/// Runs a command to its end; one that hangs is killed and fails the test.
#[track_caller]
pub fn finish(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            from.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(Box::new(out));
    let err = read(Box::new(err));
    let code = wait(&mut child, PATIENCE).code();
    Output { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// Waits until something is so; fails when it takes too long.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a child a signal, such as `-INT`.
pub fn tell(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Sends a child a signal until it has ended. Two that come close together may count as one.
#[track_caller]
pub fn insist(child: &mut Child, signal: &str) {
    until("the program's end", || {
        tell(child, signal);
        std::thread::sleep(Duration::from_millis(20));
        child.try_wait().unwrap().is_some()
    });
}

/// Waits for a child; kills it and fails when it takes too long.
#[track_caller]
pub fn wait(child: &mut Child, patience: Duration) -> std::process::ExitStatus {
    let step = Duration::from_millis(5);
    for _ in 0..patience.as_millis() / step.as_millis() {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(step);
    }
    let _ = child.kill();
    panic!("the program did not end within {patience:?}");
}
