//! What a run shows while it goes on: per candidate how much is done, how fast, at what price and how long it will take.
//!
//! Events are only counted; lines are made at most ten times a second, however many events come. A display that cannot
//! be written is given up silently: it never ends a run.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rust_decimal::Decimal;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::figure::{count, decimal, money};
use crate::types::{Failure, Record, RunEvent, Sink};
use crate::util::clock::Clock;
use crate::util::text;

/// Dollars of one record of the candidate of this index; `None` when they are not known.
pub type Spend = Box<dyn Fn(usize, &Record) -> Option<Decimal> + Send>;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressKind {
    /// Lines that are drawn over, on standard error; nothing when that is no terminal.
    Bars,
    /// A plain line per candidate every ten seconds and at the end.
    Lines,
    /// Nothing.
    Quiet,
}

/// Time between two drawings of bars.
const REDRAW: Duration = Duration::from_millis(100);
/// Time between two rounds of plain lines.
const ROUND: Duration = Duration::from_secs(10);
/// The rate is that of the last few seconds …
const WINDOW: Duration = Duration::from_secs(5);
/// … of which the count is kept this often.
const STEP: Duration = Duration::from_millis(500);
/// Columns of a line: one less than the narrowest terminal that is catered for, since some break a full line.
const COLUMNS: usize = 79;
/// Columns of a bar.
const BAR: usize = 8;

/// Said when a run was told to stop.
pub const STOPPING: &str = "stopping: finishing what is under way; once more (Ctrl-C) leaves at once";

/// The progress display: a sink of the run's events.
///
/// While no task ends, the engine's ticks keep rate and remaining time true.
pub struct Progress {
    display: Display,
    lanes: Vec<Lane>,
    clock: Clock,
    spend: Spend,
    shown: Duration,
    stepped: Duration,
}

enum Display {
    Bars(ProgressBar),
    Lines(Box<dyn Write + Send>),
    Quiet,
}

/// What is counted of one candidate.
struct Lane {
    id: String,
    total: u64,
    done: u64,
    failed: u64,
    spent: Decimal,
    is_priced: bool,
    unpriced: u64,
    /// When the count was what, oldest first; the first one is the last before the window.
    marks: VecDeque<(Duration, u64)>,
}

impl Progress {
    /// A display for candidates given as id, tasks in all, and tasks that were done before (in a resumed run). `spend`
    /// prices records; what was spent before is not part of the display. `out` takes the plain lines.
    pub fn new(
        kind: ProgressKind,
        candidates: Vec<(String, u64, u64)>,
        clock: Clock,
        spend: Spend,
        out: Box<dyn Write + Send>,
    ) -> Progress {
        let display = match kind {
            ProgressKind::Bars => Display::Bars(bar(ProgressDrawTarget::stderr())),
            ProgressKind::Lines => Display::Lines(out),
            ProgressKind::Quiet => Display::Quiet,
        };
        Progress::with_display(display, candidates, clock, spend)
    }

    fn with_display(display: Display, candidates: Vec<(String, u64, u64)>, clock: Clock, spend: Spend) -> Progress {
        let now = clock.now();
        let lanes = candidates.into_iter().map(|(id, total, done)| Lane {
            id: text::shorten(&id, 60),
            total,
            done,
            failed: 0,
            spent: Decimal::ZERO,
            is_priced: false,
            unpriced: 0,
            marks: VecDeque::from([(now, done)]),
        });
        let progress = Progress { display, lanes: lanes.collect(), clock, spend, shown: now, stepped: now };
        if let Display::Bars(bar) = &progress.display {
            bar.set_message(progress.bars(now));
        }
        progress
    }

    /// Brings the display up to date if it is due.
    fn tick(&mut self) {
        let now = self.clock.now();
        if now.saturating_sub(self.stepped) >= STEP {
            self.stepped = now;
            self.lanes.iter_mut().for_each(|lane| lane.step(now));
        }
        let due = match self.display {
            Display::Bars(_) => REDRAW,
            Display::Lines(_) => ROUND,
            Display::Quiet => return,
        };
        if now.saturating_sub(self.shown) >= due {
            self.shown = now;
            self.show(now);
        }
    }

    /// Ends the display: bars are cleared, plain lines are written a last time. Nothing is shown after that.
    pub fn finish(&mut self) {
        match &self.display {
            Display::Bars(bar) => bar.finish_and_clear(),
            Display::Lines(_) => self.show(self.clock.now()),
            Display::Quiet => {}
        }
        self.display = Display::Quiet;
    }

    /// Writes a line of ours above the display, such as that the run is being stopped. Not for `Quiet`.
    fn say(&mut self, line: &str) {
        match &mut self.display {
            Display::Bars(bar) => bar.println(line),
            Display::Lines(out) => {
                if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                    self.display = Display::Quiet;
                }
            }
            Display::Quiet => {}
        }
    }

    fn show(&mut self, now: Duration) {
        let lines = match &self.display {
            Display::Bars(bar) => {
                bar.set_message(self.bars(now));
                return;
            }
            Display::Lines(_) => self.lanes.iter().map(|lane| lane.plain(now)).collect::<String>(),
            Display::Quiet => return,
        };
        if let Display::Lines(out) = &mut self.display
            && out.write_all(lines.as_bytes()).and_then(|()| out.flush()).is_err()
        {
            self.display = Display::Quiet;
        }
    }

    /// One line per candidate, in columns.
    fn bars(&self, now: Duration) -> String {
        let cells: Vec<[String; 5]> = self.lanes.iter().map(|lane| lane.cells(now)).collect();
        let widths: Vec<usize> =
            (0..5).map(|column| cells.iter().map(|row| row[column].width()).max().unwrap_or(0)).collect();
        // Two blanks before each column that is not empty.
        let figures: usize = widths.iter().filter(|width| **width > 0).map(|width| width + 2).sum();
        let longest = self.lanes.iter().map(|lane| lane.id.width()).max().unwrap_or(0);
        let room = COLUMNS.saturating_sub(figures);
        let has_bar = room >= longest.min(16) + 2 + BAR;
        let id_width = longest.min(if has_bar { room - BAR - 2 } else { room });
        let mut lines = Vec::with_capacity(self.lanes.len());
        for (lane, row) in self.lanes.iter().zip(&cells) {
            let mut line = fitted(&lane.id, id_width);
            if has_bar {
                line.push_str("  ");
                line.push_str(&lane.bar());
            }
            for (cell, width) in row.iter().zip(&widths).filter(|(_, width)| **width > 0) {
                line.push_str(&" ".repeat(2 + width - cell.width()));
                line.push_str(cell);
            }
            lines.push(fitted(&line, COLUMNS).trim_end().to_owned());
        }
        lines.join("\n")
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bars(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Progress {
    fn accept(&mut self, events: &[RunEvent]) -> io::Result<()> {
        if matches!(self.display, Display::Quiet) {
            return Ok(());
        }
        for event in events {
            match event {
                RunEvent::Recorded { candidate, record, .. } => {
                    let Some(lane) = self.lanes.get_mut(*candidate) else { continue };
                    lane.done += 1;
                    let is_failed =
                        matches!(&record.outcome, Err(failure) if !matches!(failure, Failure::Unsent { .. }));
                    lane.failed += u64::from(is_failed);
                    match (self.spend)(*candidate, record) {
                        Some(dollars) => {
                            lane.is_priced = true;
                            lane.spent = lane.spent.saturating_add(dollars);
                        }
                        // An answer without a price; that a failure costs nothing goes without saying.
                        None => lane.unpriced += u64::from(record.outcome.is_ok()),
                    }
                }
                RunEvent::Unreachable { candidate, why } => {
                    let Some(lane) = self.lanes.get(*candidate) else { continue };
                    let line = format!("{}: no more requests are sent to it: {}", lane.id, text::shorten(why, 300));
                    self.say(&line);
                }
                RunEvent::Stopping => {
                    if matches!(self.display, Display::Bars(_)) {
                        self.say(STOPPING);
                    }
                }
                RunEvent::Tick => {}
            }
        }
        self.tick();
        Ok(())
    }
}

impl Lane {
    fn step(&mut self, now: Duration) {
        self.marks.push_back((now, self.done));
        while self.marks.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.marks.pop_front();
        }
    }

    /// Tasks per second over the last few seconds; `None` before there is something to go by.
    fn rate_per_s(&self, now: Duration) -> Option<f64> {
        let (since, before) = *self.marks.front()?;
        let seconds = now.saturating_sub(since).as_secs_f64();
        (seconds >= 0.5).then(|| self.done.saturating_sub(before) as f64 / seconds)
    }

    fn left(&self, now: Duration) -> Option<Duration> {
        let rest = self.total.saturating_sub(self.done);
        let rate_per_s = self.rate_per_s(now).filter(|rate| *rate > 0.0)?;
        Duration::try_from_secs_f64(rest as f64 / rate_per_s).ok()
    }

    fn bar(&self) -> String {
        let share = if self.total == 0 { 1.0 } else { (self.done as f64 / self.total as f64).min(1.0) };
        // Between 0 and BAR.
        let full = (share * BAR as f64).floor() as usize;
        "█".repeat(full) + &"░".repeat(BAR - full)
    }

    fn dollars(&self) -> String {
        let spent = money(&self.spent.to_string());
        match (self.is_priced, self.unpriced) {
            (true, 0) => spent,
            // Some answers came without the counts that a price needs.
            (true, _) => format!("≥ {spent}"),
            (false, _) => String::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.done >= self.total
    }

    /// Done, failed, rate, spend, time left.
    fn cells(&self, now: Duration) -> [String; 5] {
        let rate = self.rate_per_s(now).filter(|_| !self.is_done());
        let left =
            if self.is_done() { Some("done".to_owned()) } else { self.left(now).map(|left| span(left) + " left") };
        [
            format!("{}/{}", count(self.done), count(self.total)),
            if self.failed > 0 { format!("{} failed", count(self.failed)) } else { String::new() },
            rate.map_or(String::new(), per_second),
            self.dollars(),
            left.unwrap_or_default(),
        ]
    }

    /// A line for logs.
    fn plain(&self, now: Duration) -> String {
        let [done, failed, rate, spent, left] = self.cells(now);
        let cells: Vec<String> =
            [done, failed, rate, spent, left].into_iter().filter(|cell| !cell.is_empty()).collect();
        let figures = cells.join("  ");
        let room = (COLUMNS - 2).saturating_sub(figures.width()).max(8);
        let id = if self.id.width() > room { fitted(&self.id, room) } else { self.id.clone() };
        format!("{id}: {figures}\n")
    }
}

fn bar(target: ProgressDrawTarget) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}").expect("the template is constant and valid");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

/// `12.3/s`.
fn per_second(rate_per_s: f64) -> String {
    let decimals = match rate_per_s {
        rate if rate >= 100.0 => 0,
        rate if rate >= 10.0 => 1,
        _ => 2,
    };
    format!("{}/s", decimal(rate_per_s, decimals))
}

/// `42s`, `3m 20s`, `2h 05m`.
fn span(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => "over 100h".to_owned(),
    }
}

/// Text of exactly so many columns: filled with blanks, or cut, with `…` at the cut.
fn fitted(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(text.width());
    if text.width() <= columns {
        return format!("{text}{}", " ".repeat(missing));
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        out.push(c);
        used += wide;
    }
    if columns > 0 {
        out.push('…');
        used += 1;
    }
    out + &" ".repeat(columns.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;
    use tokio::time::advance;

    use super::*;
    use crate::types::{Failure, Response, Slot, TaskKey};
    use crate::util::digest::Digest;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// A terminal that keeps what is written and forgets where.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<Vec<String>>>);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(text.to_owned());
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(candidate: usize, outcome: Result<Response, Failure>) -> RunEvent {
        let key = TaskKey { sample: "s".into(), candidate: "c".into(), repeat: 0 };
        let record = Record {
            key,
            digest: Digest::default(),
            due: None,
            is_held: false,
            is_open: false,
            retried: Vec::new(),
            timing: None,
            held_usd: None,
            outcome,
        };
        RunEvent::Recorded { candidate, record: Box::new(record), slot: Slot::new(|| ()) }
    }

    fn answers(candidate: usize, n: usize) -> Vec<RunEvent> {
        (0..n).map(|_| event(candidate, Ok(Response::default()))).collect()
    }

    fn spend() -> Spend {
        Box::new(|candidate, record| (candidate == 0 && record.outcome.is_ok()).then(|| Decimal::new(25, 4)))
    }

    #[tokio::test(start_paused = true)]
    async fn plain_lines_come_every_ten_seconds_and_at_the_end() {
        let out = Shared::default();
        let candidates = vec![("current".to_owned(), 100, 0), ("evil\u{1b}[2J\n".to_owned(), 100, 40)];
        let mut progress = Progress::new(ProgressKind::Lines, candidates, Clock::new(), spend(), Box::new(out.clone()));
        for _ in 0..10 {
            advance(Duration::from_secs(1)).await;
            progress.accept(&answers(0, 4)).unwrap();
        }
        progress.accept(&[event(1, Err(Failure::Timeout { after: Duration::from_secs(1) }))]).unwrap();
        assert_eq!(out.text(), "current: 40/100  4.00/s  $0.100  15s left\nevil\\u{1b}[2J\\n: 40/100  0.00/s\n");
        advance(Duration::from_secs(9)).await;
        progress.accept(&answers(0, 60)).unwrap();
        progress.say("stopping");
        progress.finish();
        let last = "stopping\ncurrent: 100/100  $0.250  done\nevil\\u{1b}[2J\\n: 41/100  1 failed  ";
        assert!(out.text().contains(last), "{}", out.text());
        assert_eq!(out.text().lines().count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn many_events_are_drawn_rarely_and_within_the_width() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let candidates = vec![
            ("漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字".to_owned(), 1_000_000, 0),
            ("🎉 a-very-long-name-of-an-organisation/and-of-its-model".to_owned(), 1_000_000, 999_000),
        ];
        let mut progress = Progress::with_display(Display::Bars(bar(target)), candidates, Clock::new(), spend());
        let before = screen.0.lock().unwrap().len();
        let batch = answers(0, 30);
        for _ in 0..1000 {
            advance(Duration::from_millis(1)).await;
            progress.accept(&batch).unwrap();
        }
        let written = screen.0.lock().unwrap().clone();
        let drawn = written.iter().filter(|text| text.contains("/1,000,000")).count();
        // Two lines a drawing, one drawing each 100 ms of the second.
        assert!((2..=2 * 11).contains(&drawn), "{drawn}");
        for text in &written[before..] {
            assert!(text.width() <= 80, "{text}");
        }
        let line = written.iter().rfind(|text| text.contains("漢字")).unwrap();
        assert!(line.contains("30,000/1,000,000") && line.contains("30,000/s"), "{line}");
        assert!(line.contains("$75.0") && line.contains("left"), "{line}");
        progress.finish();
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_display_does_not_end_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let candidates = vec![("a".to_owned(), 10, 0)];
        let mut progress = Progress::new(ProgressKind::Lines, candidates, Clock::new(), spend(), Box::new(Closed));
        advance(ROUND).await;
        progress.accept(&answers(0, 1)).unwrap();
        // An index that no candidate has is not counted.
        progress.accept(&answers(7, 1)).unwrap();
        progress.finish();
    }

    #[test]
    fn times_and_names_fit() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (200, "3m 20s"), (7500, "2h 05m"), (u64::MAX / 2, "over 100h")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(fitted("漢字漢", 5), "漢字…");
        assert_eq!(fitted("漢字漢", 4), "漢… ");
        assert_eq!(fitted("ab", 4), "ab  ");
        assert_eq!(fitted("ab", 0), "");
    }
}
