//! Lines in the order of arrival, however many there are: a window in memory sorts what is only a little out of order,
//! and writes runs; more than one run is merged at the end (replacement selection; Knuth, The Art of Computer
//! Programming 3, section 5.4.1). A file that is in order makes one run, and nothing is written twice.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memchr::memchr;
use serde::Deserialize;

use crate::util::digest::Digest;
use crate::util::plain_file;

/// Bytes of lines that wait in memory for an earlier one.
const WINDOW: usize = 32 << 20;

/// Bytes that all runs together may hold while they are merged.
const MERGE: usize = 48 << 20;

/// What every line begins with, up to the number that says which turn of its conversation it is.
const HEAD: &str = "{\"evalctl\":\"capture/1\",\"turn\":";

/// A line that waits. Ordered by run, arrival and place in the source.
type Waiting = Reverse<(u32, i64, u64, Box<[u8]>)>;

/// Takes lines in any order.
pub struct Sorter {
    guard: Guard,
    out: BufWriter<File>,
    window: usize,
    heap: BinaryHeap<Waiting>,
    bytes: usize,
    taken: u64,
    run: u32,
    /// Where each run begins.
    runs: Vec<u64>,
    written: u64,
    last: i64,
    turns: Turns,
}

/// Counts the turns of conversations, in 16 bytes or so each.
#[derive(Default)]
struct Turns(HashMap<u64, u32>);

/// What of a line decides its place.
#[derive(Deserialize)]
struct Key<'a> {
    arrived_us: Option<i64>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    conversation: std::borrow::Cow<'a, str>,
}

impl Turns {
    /// The line with the number of its turn.
    fn write(&mut self, line: &[u8], key: &Key<'_>, out: &mut impl Write) -> io::Result<u64> {
        let turn = if key.id == key.conversation {
            1
        } else {
            let turn = self.0.entry(Digest::of(key.conversation.as_bytes()).low64()).or_default();
            *turn += 1;
            *turn
        };
        let end = memchr(b',', &line[HEAD.len()..]).map_or(HEAD.len(), |at| HEAD.len() + at);
        let number = turn.to_string();
        out.write_all(HEAD.as_bytes())?;
        out.write_all(number.as_bytes())?;
        out.write_all(&line[end..])?;
        out.write_all(b"\n")?;
        Ok((HEAD.len() + number.len() + line.len() - end + 1) as u64)
    }
}

/// Whether a file holds the lines of an import, or nothing.
pub fn is_spool(path: &Path) -> bool {
    let mut head = Vec::new();
    let is_read = File::open(path).and_then(|file| file.take(HEAD.len() as u64).read_to_end(&mut head)).is_ok();
    is_read && HEAD.as_bytes().starts_with(&head)
}

fn key(line: &[u8]) -> io::Result<Key<'_>> {
    serde_json::from_slice(line).map_err(|error| io::Error::other(format!("a line that was written: {error}")))
}

impl Sorter {
    /// Keeps its runs in a file at `path`, which is removed unless it becomes the result.
    ///
    /// # Errors
    /// When the file cannot be made, or another import is at it.
    pub fn new(path: PathBuf) -> io::Result<Sorter> {
        Sorter::with_window(path, WINDOW)
    }

    fn with_window(path: PathBuf, window: usize) -> io::Result<Sorter> {
        let out = BufWriter::with_capacity(256 << 10, plain_file::hold(&path)?);
        Ok(Sorter {
            guard: Guard(Some(path)),
            out,
            window,
            heap: BinaryHeap::new(),
            bytes: 0,
            taken: 0,
            run: 0,
            runs: vec![0],
            written: 0,
            last: i64::MIN,
            turns: Turns::default(),
        })
    }

    /// Takes a line of a capture, without its line end, and the instant that decides its place. Lines of the same
    /// instant stay in the order in which they came.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, at: i64, line: Vec<u8>) -> io::Result<()> {
        let run = if at < self.last { self.run + 1 } else { self.run };
        self.bytes += line.len() + 64;
        self.heap.push(Reverse((run, at, self.taken, line.into_boxed_slice())));
        self.taken += 1;
        while self.bytes > self.window {
            self.pop()?;
        }
        Ok(())
    }

    fn pop(&mut self) -> io::Result<bool> {
        let Some(Reverse((run, at, _, line))) = self.heap.pop() else { return Ok(false) };
        self.bytes -= line.len() + 64;
        if run > self.run {
            self.run = run;
            self.runs.push(self.written);
        }
        self.last = at;
        self.written += self.turns.write(&line, &key(&line)?, &mut self.out)?;
        Ok(true)
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> io::Result<Sorted> {
        while self.pop()? {}
        let Sorter { guard, out, runs, written, .. } = self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Sorted { file, guard, runs, end: written })
    }
}

/// Removes its file, unless that has become something else.
struct Guard(Option<PathBuf>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // That it may fail to go adds nothing.
            let _ = fs::remove_file(path);
        }
    }
}

/// All lines, ready to be read in order.
pub struct Sorted {
    file: File,
    guard: Guard,
    runs: Vec<u64>,
    end: u64,
}

impl Sorted {
    /// Gives every line, with its line end, in order.
    ///
    /// # Errors
    /// Those of the file and of `visit`.
    pub fn each(&self, visit: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let share = (MERGE / self.runs.len()).clamp(4 << 10, 1 << 20);
        let ends = self.runs.iter().skip(1).chain([&self.end]);
        let mut readers: Vec<Run<'_>> =
            self.runs.iter().zip(ends).map(|(start, end)| Run::new(&self.file, *start, *end, share)).collect();
        let mut heap = BinaryHeap::new();
        let mut turns = Turns::default();
        for (index, reader) in readers.iter_mut().enumerate() {
            if let Some(at) = reader.advance()? {
                heap.push(Reverse((at, index)));
            }
        }
        let mut line = Vec::new();
        while let Some(Reverse((_, index))) = heap.pop() {
            let reader = &mut readers[index];
            if self.runs.len() == 1 {
                visit(reader.line_with_end())?;
            } else {
                line.clear();
                turns.write(reader.line(), &key(reader.line())?, &mut line)?;
                visit(&line)?;
            }
            if let Some(at) = reader.advance()? {
                heap.push(Reverse((at, index)));
            }
        }
        Ok(())
    }

    /// Makes the file at `path` of all lines: there as a whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(mut self, path: &Path) -> io::Result<()> {
        if self.runs.len() == 1 {
            self.file.sync_all()?;
            if let Some(own) = self.guard.0.as_ref() {
                fs::rename(own, path)?;
            }
            self.guard.0 = None;
            return Ok(());
        }
        crate::util::atomic::write(path, |out| self.each(&mut |line| out.write_all(line)))
    }
}

/// A run that is read.
struct Run<'a> {
    file: &'a File,
    /// Where the next bytes of the file are, and where the run ends.
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
    /// Length of the line at hand, with its end.
    length: usize,
    chunk: usize,
    last: i64,
}

impl<'a> Run<'a> {
    fn new(file: &'a File, start: u64, end: u64, chunk: usize) -> Run<'a> {
        Run { file, next: start, end, buffer: Vec::new(), start: 0, length: 0, chunk, last: i64::MIN }
    }

    fn line_with_end(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.length]
    }

    fn line(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.length - 1]
    }

    /// Goes to the next line; gives its instant. One without a time has that of the line before it.
    fn advance(&mut self) -> io::Result<Option<i64>> {
        self.start += self.length;
        self.length = 0;
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr(b'\n', &self.buffer[searched..]) {
                self.length = searched + at + 1 - self.start;
                self.last = key(self.line())?.arrived_us.unwrap_or(self.last);
                return Ok(Some(self.last));
            }
            if self.next == self.end {
                return Ok(None);
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let wanted = self.chunk.max(searched).min(left);
            self.buffer.resize(searched + wanted, 0);
            self.file.read_exact_at(&mut self.buffer[searched..], self.next)?;
            self.next += wanted as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(id: usize, arrived: Option<i64>, conversation: usize) -> Vec<u8> {
        let arrived = arrived.map_or("null".to_owned(), |us| us.to_string());
        format!("{HEAD}0,\"id\":\"{id}\",\"conversation\":\"c{conversation}\",\"arrived_us\":{arrived}}}").into_bytes()
    }

    fn sorted(rows: &[(Option<i64>, usize)], window: usize) -> Vec<(String, u64)> {
        let name = format!("evalctl-sort-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let mut sorter = Sorter::with_window(path.clone(), window).unwrap();
        let mut last = i64::MIN;
        for (id, (at, conversation)) in rows.iter().enumerate() {
            last = at.unwrap_or(last);
            sorter.push(last, line(id, *at, *conversation)).unwrap();
        }
        let sorted = sorter.finish().unwrap();
        let mut lines = Vec::new();
        sorted
            .each(&mut |line| {
                assert_eq!(line.last(), Some(&b'\n'));
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                lines.push((value["id"].as_str().unwrap().to_owned(), value["turn"].as_u64().unwrap()));
                Ok(())
            })
            .unwrap();
        let saved = path.with_extension("saved");
        sorted.save(&saved).unwrap();
        assert_eq!(fs::read_to_string(&saved).unwrap().lines().count(), rows.len());
        fs::remove_file(saved).unwrap();
        assert!(!path.exists());
        lines
    }

    #[test]
    fn rows_come_in_order_with_their_turns() {
        let rows = [(Some(5), 1), (Some(9), 1), (Some(1), 1), (None, 2), (Some(9), 2)];
        let expected = [("2", 1), ("3", 1), ("0", 2), ("1", 3), ("4", 2)].map(|(id, turn)| (id.to_owned(), turn));
        for window in [0, 1 << 20] {
            assert_eq!(sorted(&rows, window), expected, "{window}");
        }
        assert_eq!(sorted(&[], 0), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_order_comes_out_sorted_and_stable(
            times in prop::collection::vec(0..50_i64, 0..120),
            window in 0..4000_usize,
        ) {
            let rows: Vec<(Option<i64>, usize)> = times.iter().map(|at| (Some(*at), 1)).collect();
            let mut expected: Vec<usize> = (0..times.len()).collect();
            expected.sort_by_key(|row| times[*row]);
            let found = sorted(&rows, window);
            let ids: Vec<usize> = found.iter().map(|(id, _)| id.parse().unwrap()).collect();
            prop_assert_eq!(ids, expected);
            prop_assert!(found.iter().enumerate().all(|(index, (_, turn))| *turn == index as u64 + 1));
        }
    }
}
