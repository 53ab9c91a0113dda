//! The report as text for a terminal: what a decision maker needs first, then the figures behind it. It is readable at
//! 80 columns and shows more from 120 on. Confusion matrices and figures per class are left to the Markdown form.

use std::borrow::Cow;
use std::io;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::report::answered;
use crate::report::figure::{self, Measure, NONE, Span, count};
use crate::report::words::{self, Footnotes, Section};
use crate::report::{CandidateReport, ComparisonReport, Metric, Renderer, Report, Verdict};
use crate::types::{Punctual, Unit};
use crate::util::text;

/// Renders for a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns there are; taken as 40 when it is less, and as 240 when it is more.
    pub width: u16,
    /// Whether colours are written, as ANSI codes. They repeat what the words say.
    pub is_coloured: bool,
}

impl Renderer for Terminal {
    fn extension(&self) -> &'static str {
        "txt"
    }

    fn render(&self, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
        let width = usize::from(self.width.clamp(40, 240));
        let mut page =
            Page { out: String::new(), width, is_coloured: self.is_coloured, usual: words::usual_confidence(report) };
        let (report, unmeasured) = measured(report);
        let report = &report;
        page.head(report);
        page.quality(report);
        page.comparisons(report);
        page.timing(report);
        page.speed(report);
        page.cost(report);
        page.weights(report);
        page.unmeasured(&unmeasured);
        page.tasks(report);
        page.gates(report);
        page.flips(report);
        page.notes(report);
        out.write_all(page.out.as_bytes())
    }
}

/// The report without the figures that no candidate has, and what they are with their reasons: tables full of dashes
/// hide the others. Metrics of the suite's scorers and of its gates always stay.
fn measured(report: &Report) -> (Report, Vec<(String, String)>) {
    let is_asked = |name: &str| {
        let of_scorer =
            |scorer: &String| name == scorer || name.strip_prefix(&**scorer).is_some_and(|rest| rest.starts_with('.'));
        report.scorers.iter().any(of_scorer) || report.gates.iter().any(|gate| gate.gate.metric == name)
    };
    let metrics = || report.candidates.iter().flat_map(|candidate| &candidate.metrics);
    let is_measured = |name: &str| metrics().any(|metric| metric.name == name && metric.value.is_some());
    let is_compared = |name: &str| {
        let mut all = report.comparisons.iter().filter(|comparison| comparison.metric == name);
        all.any(|comparison| comparison.difference.is_some())
    };
    let mut unmeasured: Vec<(String, String)> = Vec::new();
    for metric in metrics().filter(|metric| !is_asked(&metric.name) && !is_measured(&metric.name)) {
        let kind = metric.name.split_once('.').map_or(&*metric.name, |(kind, _)| kind);
        if !unmeasured.iter().any(|(known, _)| known == kind) {
            unmeasured.push((kind.to_owned(), metric.reason.clone().unwrap_or_default()));
        }
    }
    let mut shown = report.clone();
    for candidate in &mut shown.candidates {
        candidate.metrics.retain(|metric| is_asked(&metric.name) || is_measured(&metric.name));
    }
    shown.comparisons.retain(|comparison| is_asked(&comparison.metric) || is_compared(&comparison.metric));
    (shown, unmeasured)
}

/// From this many columns on, tables get more columns.
const WIDE: usize = 120;

/// Where the words of a gate begin: after the longest verdict.
const GATE_INDENT: usize = 17;

/// A header, a line under it, and rows without lines.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const GREEN: &str = "\u{1b}[1;32m";
const YELLOW: &str = "\u{1b}[1;33m";
const PLAIN: &str = "\u{1b}[0m";

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => GREEN,
        Verdict::Inconclusive => YELLOW,
        Verdict::Fail => RED,
    }
}

/// A name from outside: printable, and not longer than a table can bear.
fn name(name: &str) -> String {
    if name.is_empty() { "(empty)".to_owned() } else { text::shorten(name, 100) }
}

/// A sentence from outside.
fn sentence(sentence: &str) -> String {
    text::shorten(sentence, 600)
}

/// A candidate's row under the row of its metric. The blank is one that no line is broken at.
fn under(id: &str) -> String {
    format!("·\u{a0}{}", name(id))
}

struct Page {
    out: String,
    width: usize,
    is_coloured: bool,
    usual: f64,
}

/// How a table's columns behave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    /// Text that is broken into lines when the room is short.
    Text,
    /// Figures, kept on one line while there is room.
    Figure,
    /// Counts: as figures, to the right.
    Count,
}

impl Page {
    fn is_wide(&self) -> bool {
        self.width >= WIDE
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    fn painted<'a>(&self, text: &'a str, code: &str) -> Cow<'a, str> {
        if self.is_coloured { Cow::Owned(format!("{code}{text}{PLAIN}")) } else { Cow::Borrowed(text) }
    }

    fn heading(&mut self, title: &str, caption: &str) {
        self.out.push('\n');
        self.loud(title, BOLD);
        if !caption.is_empty() {
            self.paragraph(" ", " ", caption);
        }
    }

    /// Text in lines; the first line begins with `first`, the others with `rest`.
    fn paragraph(&mut self, first: &str, rest: &str, text: &str) {
        for line in wrapped(text, self.width, first, rest) {
            self.line(&line);
        }
    }

    /// Text in lines of a colour.
    fn loud(&mut self, text: &str, code: &str) {
        for line in wrapped(text, self.width, "", "") {
            let line = self.painted(&line, code).into_owned();
            self.line(&line);
        }
    }

    fn table(&mut self, columns: &[(&str, Column)], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(self.width).unwrap_or(u16::MAX));
        table.set_header(columns.iter().map(|(title, _)| *title).collect::<Vec<_>>());
        table.add_rows(rows);
        let widths = table.column_max_content_widths();
        let is_text = |index: usize| columns.get(index).is_some_and(|(_, column)| *column == Column::Text);
        let kept: usize =
            (0..widths.len()).filter(|index| !is_text(*index)).map(|index| usize::from(widths[index])).sum();
        let texts = (0..widths.len()).filter(|index| is_text(*index)).count();
        let has_room = kept + 10 * texts + 2 * widths.len() <= self.width;
        for (index, (_, column)) in columns.iter().enumerate() {
            let Some(shown) = table.column_mut(index) else { continue };
            if *column == Column::Count {
                shown.set_cell_alignment(CellAlignment::Right);
            }
            if *column != Column::Text && has_room {
                shown.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut is_header = true;
        for line in table.lines().collect::<Vec<_>>() {
            let line = line.trim_end();
            if line.trim_start().starts_with('─') {
                is_header = false;
                self.line(line);
            } else if is_header {
                let line = self.painted(line, BOLD).into_owned();
                self.line(&line);
            } else {
                let line = self.with_verdict(line);
                self.line(&line);
            }
        }
    }

    /// Colours a verdict in the first column, after its one blank of padding.
    fn with_verdict(&self, line: &str) -> String {
        if self.is_coloured {
            for verdict in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
                let word = words::verdict(verdict);
                let rest = line.strip_prefix(' ').and_then(|line| line.strip_prefix(word));
                if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
                    return format!(" {}{rest}", self.painted(word, colour(verdict)));
                }
            }
        }
        line.to_owned()
    }

    fn footnotes(&mut self, footnotes: &Footnotes) {
        for (number, reason) in footnotes.reasons() {
            self.paragraph(&format!(" ({number}) "), "     ", &sentence(reason));
        }
    }

    fn head(&mut self, report: &Report) {
        let title = format!("{} · run {}", name(&report.suite), name(&report.run));
        self.loud(&title, BOLD);
        if let Some(decision) = &report.decision {
            self.paragraph("", "", &sentence(decision));
        }
        let baseline =
            report.baseline.as_deref().map_or("no baseline".to_owned(), |id| format!("baseline {}", name(id)));
        let samples = if report.samples == 1 { "sample" } else { "samples" };
        let facts = format!(
            "{} {samples} · {baseline} · started {} · evalctl {}",
            count(report.samples),
            name(&report.started),
            name(&report.version)
        );
        self.paragraph("", "", &facts);
        self.out.push('\n');
        if let Some(partial) = words::partial(report) {
            self.loud(&partial, YELLOW);
        }
        for note in report.notes.iter().filter(|note| words::is_urgent(note)) {
            self.paragraph("! ", "  ", &sentence(&note.text));
        }
        for invalid in words::invalid(report) {
            self.loud(&sentence(&invalid), YELLOW);
        }
        let outcome = words::outcome(report);
        let code = report.verdict.map_or(BOLD, colour);
        self.loud(&outcome, code);
        if report.gates.is_empty() {
            return;
        }
        self.out.push('\n');
        let rows = report.candidates.iter().map(|candidate| {
            let verdict = candidate.verdict.map_or(NONE, words::verdict);
            vec![verdict.to_owned(), name(&candidate.id), words::why(report, candidate, name)]
        });
        let rows = rows.collect();
        self.table(&[("verdict", Column::Figure), ("candidate", Column::Text), ("why", Column::Text)], rows);
    }

    /// The figure of a metric with its interval, and the mark of its reason when something is missing.
    fn figure(&self, metric: &Metric, footnotes: &mut Footnotes) -> String {
        self.span(
            &Span::of(metric),
            Measure::Figure(metric.unit),
            metric.confidence,
            metric.reason.as_deref(),
            footnotes,
        )
    }

    fn span(
        &self,
        span: &Span,
        measure: Measure,
        confidence: f64,
        reason: Option<&str>,
        footnotes: &mut Footnotes,
    ) -> String {
        let mut text = span.text(measure);
        text.push_str(&words::at_confidence(confidence, self.usual));
        if span.is_lacking() {
            text.push_str(&footnotes.mark(reason));
        }
        text
    }

    /// A row per metric, and under it a row per candidate that has it.
    fn metric_rows(&self, report: &Report, names: &[&str], footnotes: &mut Footnotes) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for metric_name in names {
            rows.push(vec![name(metric_name)]);
            for candidate in &report.candidates {
                for metric in candidate.metrics.iter().filter(|metric| metric.name == *metric_name) {
                    rows.push(vec![
                        under(&candidate.id),
                        self.figure(metric, footnotes),
                        count(metric.n),
                        count(metric.missing),
                        words::method(metric.method).to_owned(),
                    ]);
                }
            }
        }
        rows
    }

    /// The columns of [`Page::metric_rows`]; the last one needs room.
    fn metric_columns(&self, rows: &mut [Vec<String>]) -> Vec<(&'static str, Column)> {
        let mut columns = vec![
            ("metric", Column::Text),
            ("figure", Column::Figure),
            ("n", Column::Count),
            ("missing", Column::Count),
            ("interval", Column::Figure),
        ];
        if !self.is_wide() {
            columns.truncate(4);
            rows.iter_mut().for_each(|row| row.truncate(4));
        }
        columns
    }

    fn intervals(&self) -> String {
        format!("[…]: {} interval", figure::confidence(self.usual))
    }

    fn quality(&mut self, report: &Report) {
        let names = words::metric_names(report, Section::Quality);
        if names.is_empty() {
            return;
        }
        self.heading(
            "QUALITY",
            &format!("{}; n: samples; missing: tasks that could not be observed", self.intervals()),
        );
        let mut footnotes = Footnotes::default();
        let mut rows = self.metric_rows(report, &names, &mut footnotes);
        let columns = self.metric_columns(&mut rows);
        self.table(&columns, rows);
        self.footnotes(&footnotes);
    }

    fn comparisons(&mut self, report: &Report) {
        let Some(baseline) = &report.baseline else { return };
        let names = words::compared_names(report, Section::Quality);
        if !names.is_empty() {
            let title = format!("AGAINST {}", name(baseline));
            let is_wide = self.is_wide();
            let missing = if is_wide {
                "; missing: samples that only the candidate + only the baseline has a mark for"
            } else {
                ""
            };
            let caption = format!(
                "difference in percentage points, paired by sample; {}; fixed, broken: samples that only the candidate, \
                 only the baseline gets right{missing}; p-values are not corrected for the number of comparisons",
                self.intervals()
            );
            self.heading(&title, &caption);
            let mut footnotes = Footnotes::default();
            let rows = self.comparison_rows(report, &names, |page, comparison| {
                let span = Span::of_comparison(comparison);
                let mut points = span.points();
                points.push_str(&words::at_confidence(comparison.confidence, page.usual));
                if span.is_lacking() {
                    points.push_str(&footnotes.mark(comparison.reason.as_deref()));
                }
                // Only yes/no marks flip: for others the columns do not apply.
                let flips = comparison.discordant.as_ref();
                let mut cells = vec![
                    points,
                    count(comparison.n),
                    flips.map_or(String::new(), |flips| count(flips.candidate_only)),
                    flips.map_or(String::new(), |flips| count(flips.baseline_only)),
                    figure::p_value(comparison.p_value),
                ];
                if is_wide {
                    let (one, other) = (comparison.baseline_missing, comparison.candidate_missing);
                    cells.insert(2, format!("{} + {}", count(one), count(other)));
                }
                cells
            });
            let mut columns = vec![
                ("metric", Column::Text),
                ("points", Column::Figure),
                ("pairs", Column::Count),
                ("fixed", Column::Count),
                ("broken", Column::Count),
                ("p-value", Column::Figure),
            ];
            if is_wide {
                columns.insert(3, ("missing", Column::Count));
            }
            self.table(&columns, rows);
            self.footnotes(&footnotes);
        }
        let mut names = words::compared_names(report, Section::Speed);
        names.extend(words::compared_names(report, Section::Cost));
        if !names.is_empty() {
            let title = format!("SPEED AND COST AGAINST {}", name(baseline));
            self.heading(&title, &format!("paired by sample; {}", self.intervals()));
            // Where there is room for one column only, that is the ratio; both figures stand in the tables below.
            let is_roomy = self.width >= 100;
            let mut footnotes = Footnotes::default();
            let rows = self.comparison_rows(report, &names, |page, comparison| {
                let ratio = comparison.ratio.as_ref().map(|ratio| {
                    let reason = ratio.reason.as_deref();
                    page.span(&Span::of(ratio), Measure::Ratio, ratio.confidence, reason, &mut footnotes)
                });
                let mut cells: Vec<String> = ratio.iter().cloned().collect();
                if is_roomy || ratio.is_none() {
                    let span = Span::of_comparison(comparison);
                    let measure = Measure::Difference(comparison.unit);
                    let reason = comparison.reason.as_deref();
                    cells.push(page.span(&span, measure, comparison.confidence, reason, &mut footnotes));
                }
                if is_roomy && ratio.is_none() {
                    cells.insert(0, NONE.to_owned());
                }
                cells.push(count(comparison.n));
                cells.push(figure::p_value(comparison.p_value));
                cells
            });
            let mut columns = vec![("metric", Column::Text), ("candidate ÷ baseline", Column::Figure)];
            if is_roomy {
                columns.push(("difference", Column::Figure));
            }
            columns.extend([("pairs", Column::Count), ("p-value", Column::Figure)]);
            self.table(&columns, rows);
            self.footnotes(&footnotes);
        }
    }

    fn comparison_rows(
        &self,
        report: &Report,
        names: &[&str],
        mut cells: impl FnMut(&Page, &ComparisonReport) -> Vec<String>,
    ) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for metric_name in names {
            rows.push(vec![name(metric_name)]);
            for comparison in report.comparisons.iter().filter(|comparison| comparison.metric == *metric_name) {
                let mut row = vec![under(&comparison.candidate)];
                row.extend(cells(self, comparison));
                rows.push(row);
            }
        }
        rows
    }

    /// Latencies: a row per kind and candidate, a column per quantile.
    fn speed(&mut self, report: &Report) {
        let names = words::metric_names(report, Section::Speed);
        let mut kinds: Vec<&str> = Vec::new();
        for name in &names {
            let kind = name.rsplit_once('.').map_or(*name, |(kind, _)| kind);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let shown: &[&str] = if self.is_wide() { &["p50", "p95", "p99"] } else { &["p50", "p95"] };
        let mut footnotes = Footnotes::default();
        let mut rows = Vec::new();
        for kind in kinds {
            let mut of_kind = Vec::new();
            for candidate in &report.candidates {
                let metrics = shown.iter().map(|quantile| {
                    let wanted = format!("{kind}.{quantile}");
                    candidate.metrics.iter().find(|metric| metric.unit == Unit::Ms && metric.name == wanted)
                });
                let metrics: Vec<Option<&Metric>> = metrics.collect();
                let Some(n) = metrics.iter().flatten().map(|metric| metric.n).max() else { continue };
                let mut row = vec![under(&candidate.id)];
                row.extend(metrics.iter().map(|metric| match metric {
                    Some(metric) => self.figure(metric, &mut footnotes),
                    None => String::new(),
                }));
                row.push(count(n));
                of_kind.push(row);
            }
            if !of_kind.is_empty() {
                rows.push(vec![name(kind)]);
                rows.append(&mut of_kind);
            }
        }
        if rows.is_empty() {
            return;
        }
        let caption = format!(
            "{}; latency_ms: until the answer is complete; ttft_ms: until its first token; tpot_ms: per further token; \
             n: answers",
            self.intervals()
        );
        self.heading("SPEED", &caption);
        let mut columns = vec![("metric", Column::Text)];
        columns.extend(shown.iter().map(|quantile| (*quantile, Column::Figure)));
        columns.push(("n", Column::Count));
        self.table(&columns, rows);
        self.footnotes(&footnotes);
    }

    fn cost(&mut self, report: &Report) {
        let names = words::metric_names(report, Section::Cost);
        let mut footnotes = Footnotes::default();
        let mut rows = self.metric_rows(report, &names, &mut footnotes);
        if report.candidates.iter().any(|candidate| candidate.spend_usd.is_some()) {
            rows.push(vec!["spend, all answers".to_owned()]);
            for candidate in &report.candidates {
                rows.push(vec![under(&candidate.id), spend(candidate, &mut footnotes)]);
            }
        }
        if rows.is_empty() {
            return;
        }
        self.heading("TOKENS AND COST", &self.intervals());
        let columns = self.metric_columns(&mut rows);
        self.table(&columns, rows);
        self.footnotes(&footnotes);
        for candidate in &report.candidates {
            if let Some(words) = words::ledger(candidate) {
                self.paragraph(" ", "   ", &format!("{}: {words}", name(&candidate.id)));
            }
            for line in candidate.machines.iter().flat_map(words::machines) {
                self.paragraph(" ", "   ", &format!("{}: {}", name(&candidate.id), sentence(&line)));
            }
        }
    }

    fn timing(&mut self, report: &Report) {
        let Some(replay) = &report.replay else { return };
        self.heading(
            "TIMING",
            &format!("{}; in ms; lag: sent − planned; KS: distance of the gaps", name(&words::replayed(replay))),
        );
        let rows = |of: &dyn Fn(&Punctual) -> Vec<String>| {
            replay
                .candidates
                .iter()
                .map(|candidate| [vec![name(&candidate.candidate)], of(candidate)].concat())
                .collect()
        };
        let columns = |titles: &[&'static str]| {
            let figures = titles.iter().map(|title| (*title, Column::Count));
            [("candidate", Column::Text)].into_iter().chain(figures).collect::<Vec<_>>()
        };
        self.table(&columns(&words::KEPT), rows(&|candidate| words::kept(candidate).to_vec()));
        self.paragraph(" ", " ", "service: from sending to the end; response: from the planned time to the end");
        self.table(&columns(&words::BOTH), rows(&|candidate| words::both(candidate).to_vec()));
        for candidate in &replay.candidates {
            let shown = words::shown(report, &candidate.candidate, name);
            for aside in words::asides(candidate).into_iter().chain(shown) {
                self.paragraph(" ", "   ", &format!("{}: {aside}", name(&candidate.candidate)));
            }
        }
    }

    fn weights(&mut self, report: &Report) {
        let rows: Vec<Vec<String>> = report
            .candidates
            .iter()
            .filter_map(|candidate| {
                let facts = words::weights(candidate.weights.as_ref()?, name);
                Some([vec![name(&candidate.id)], facts.to_vec()].concat())
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        self.heading("WEIGHTS", "on this machine; size: all files that decide about answers");
        let mut columns = vec![("candidate", Column::Text)];
        columns.extend(words::WEIGHTS.into_iter().zip([Column::Figure, Column::Count, Column::Count, Column::Figure]));
        self.table(&columns, rows);
    }

    fn unmeasured(&mut self, unmeasured: &[(String, String)]) {
        if unmeasured.is_empty() {
            return;
        }
        self.heading("NOT MEASURED", "no candidate has a figure for these");
        for (kind, reason) in unmeasured {
            self.paragraph(" ", "   ", &format!("{}: {}", name(kind), sentence(reason)));
        }
    }

    fn tasks(&mut self, report: &Report) {
        self.heading("TASKS", "tasks = scored + unscored + failed + dropped; retries: attempts beyond the first");
        let rows = report.candidates.iter().map(|candidate| {
            let counts = &candidate.counts;
            let numbers =
                [counts.tasks, counts.scored, counts.unscored, counts.failed, counts.dropped, candidate.retries];
            let mut row = vec![name(&candidate.id)];
            row.extend(numbers.map(count));
            row
        });
        let rows = rows.collect();
        let columns = [
            ("candidate", Column::Text),
            ("tasks", Column::Count),
            ("scored", Column::Count),
            ("unscored", Column::Count),
            ("failed", Column::Count),
            ("dropped", Column::Count),
            ("retries", Column::Count),
        ];
        self.table(&columns, rows);
        for candidate in report.candidates.iter().filter(|candidate| !candidate.failures.is_empty()) {
            let failures = candidate.failures.iter();
            let reasons: Vec<String> =
                failures.map(|failure| format!("{} {}", count(failure.count), words::failure(failure.kind))).collect();
            self.paragraph(" ", "   ", &format!("{} failed: {}", name(&candidate.id), reasons.join(", ")));
            for example in words::examples(candidate, name, sentence) {
                self.paragraph("   ", "     ", &example);
            }
        }
        for candidate in &report.candidates {
            if let Some(words) = answered::in_words(&candidate.answered_by, name) {
                self.paragraph(" ", "   ", &format!("{}: {words}", name(&candidate.id)));
            }
        }
    }

    fn gates(&mut self, report: &Report) {
        if report.gates.is_empty() {
            return;
        }
        self.heading("GATES", "each is judged by the interval of its figure, not by the figure alone");
        let mut candidates: Vec<&str> = Vec::new();
        for gate in &report.gates {
            if !candidates.contains(&gate.candidate.as_str()) {
                candidates.push(&gate.candidate);
            }
        }
        for candidate in candidates {
            self.paragraph(" ", "   ", &name(candidate));
            for gate in report.gates.iter().filter(|gate| gate.candidate == candidate) {
                let mut why = format!("{}: {}", sentence(&gate.text), sentence(&gate.reason));
                let more = Some(gate).filter(|gate| gate.verdict == Verdict::Inconclusive);
                if let Some(more) = more.and_then(|gate| words::more_samples(std::iter::once(gate))) {
                    why.push_str("; ");
                    why.push_str(&more);
                }
                let rest = " ".repeat(GATE_INDENT);
                let first = format!("   {:1$}", words::verdict(gate.verdict), GATE_INDENT - 3);
                for (index, line) in wrapped(&why, self.width, &first, &rest).iter().enumerate() {
                    let word = words::verdict(gate.verdict);
                    match line[3..].strip_prefix(word).filter(|_| index == 0) {
                        Some(tail) => {
                            let line = format!("   {}{tail}", self.painted(word, colour(gate.verdict)));
                            self.line(&line);
                        }
                        None => self.line(line),
                    }
                }
            }
        }
    }

    fn flips(&mut self, report: &Report) {
        let flipped: Vec<&ComparisonReport> =
            report.comparisons.iter().filter(|comparison| !comparison.flips.is_empty()).collect();
        if flipped.is_empty() {
            return;
        }
        self.heading("FLIPS", "samples that only one of the two gets right; flips.csv has all of them");
        for comparison in flipped {
            self.paragraph(" ", "   ", &format!("{}, {}", name(&comparison.metric), name(&comparison.candidate)));
            for is_fixed in [true, false] {
                let ids: Vec<&str> = comparison
                    .flips
                    .iter()
                    .filter(|flip| flip.is_fixed == is_fixed)
                    .map(|flip| &*flip.sample)
                    .collect();
                let listed = u64::try_from(ids.len()).unwrap_or(u64::MAX);
                let all = comparison
                    .discordant
                    .map_or(listed, |flips| if is_fixed { flips.candidate_only } else { flips.baseline_only });
                if ids.is_empty() {
                    continue;
                }
                let limit = if self.is_wide() { 10 } else { 5 };
                let mut line: Vec<String> = ids.iter().take(limit).map(|id| name(id)).collect();
                if all > u64::try_from(line.len()).unwrap_or(u64::MAX) {
                    line.push("…".to_owned());
                }
                let kind = if is_fixed { "fixed" } else { "broken" };
                self.paragraph(&format!("   {kind} {}: ", count(all)), "     ", &line.join(", "));
            }
        }
    }

    fn notes(&mut self, report: &Report) {
        let has_classes = report.candidates.iter().any(|candidate| !candidate.confusions.is_empty());
        if report.notes.is_empty() && !has_classes {
            return;
        }
        self.heading("NOTES", "");
        for note in &report.notes {
            self.paragraph(" - ", "   ", &sentence(&note.text));
            if let Some(advice) = &note.advice {
                self.paragraph("   → ", "     ", &sentence(advice));
            }
        }
        if has_classes {
            self.paragraph(" - ", "   ", "confusion matrices and figures per class stand in report.md");
        }
    }
}

fn spend(candidate: &CandidateReport, footnotes: &mut Footnotes) -> String {
    match &candidate.spend_usd {
        Some(spend) => figure::money(spend),
        None => format!("{NONE}{}", footnotes.mark(candidate.spend_reason.as_deref())),
    }
}

/// Breaks text at blanks into lines of at most `width` columns, and words that are longer than a line anywhere.
fn wrapped(text: &str, width: usize, first: &str, rest: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut column = first.width();
    let mut is_empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !is_empty && column + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            column = rest.width();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
            column += 1;
        }
        is_empty = false;
        if column + word.width() <= width {
            line.push_str(word);
            column += word.width();
            continue;
        }
        // The widths of characters add up to at least the width of their text.
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if column + wide > width {
                lines.push(std::mem::replace(&mut line, rest.to_owned()));
                column = rest.width();
            }
            line.push(c);
            column += wide;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_by_columns_not_by_characters() {
        assert_eq!(wrapped("one two three", 9, "- ", "  "), ["- one two", "  three"]);
        assert_eq!(wrapped("漢字漢字漢字", 8, "", " "), ["漢字漢字", " 漢字"]);
        assert_eq!(wrapped("", 8, "- ", ""), ["- "]);
        for line in wrapped(&"x🎉漢".repeat(50), 40, "", "    ") {
            assert!(line.width() <= 40);
        }
    }
}
