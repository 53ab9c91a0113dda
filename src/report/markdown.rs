//! `report.md`: everything there is to read about a run, as GitHub-flavoured Markdown.
//!
//! Names from outside stand in code spans, where nothing acts; sentences from outside are escaped, so that they become
//! neither markup, links, mentions, HTML nor table cells.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::io;

use crate::report::answered;
use crate::report::figure::{self, Measure, NONE, Span, count};
use crate::report::words::{self, Footnotes, Section};
use crate::report::{CandidateReport, ComparisonReport, FLIPS_SHOWN, GateReport, Metric, Renderer, Report, Verdict};
use crate::types::{Confusion, ConfusionCell, Flip, Punctual, Unit};
use crate::util::text;

/// Renders `report.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Markdown;

/// The most columns of a confusion matrix that is shown as such.
const MATRIX_COLUMNS: usize = 16;
/// The most classes and confusions that are listed.
const LISTED: usize = 100;

impl Renderer for Markdown {
    fn extension(&self) -> &'static str {
        "md"
    }

    fn render(&self, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
        let mut page = Page { out: String::new(), usual: words::usual_confidence(report) };
        page.head(report);
        page.gates(report);
        page.figures(
            report,
            Section::Quality,
            "Quality",
            "n counts samples; missing counts tasks that could not be observed: failed, unscored or dropped.",
        );
        page.comparisons(report);
        page.timing(report);
        page.figures(
            report,
            Section::Speed,
            "Speed",
            "`latency_ms` is the time until an answer is complete, `ttft_ms` until its first token, `tpot_ms` per further \
             token, and of replays `response_ms` from the planned time until the answer is complete. n counts answers.",
        );
        page.figures(report, Section::Cost, "Tokens and cost", "n counts answers.");
        page.ledger(report);
        page.weights(report);
        page.tasks(report);
        page.classes(report);
        page.flips(report);
        page.notes(report);
        out.write_all(page.out.as_bytes())
    }
}

/// A name from outside in a code span. A `|` stands between spans, since tables take it for the end of a cell even
/// inside one.
fn code(name: &str) -> String {
    if name.is_empty() {
        return "(empty)".to_owned();
    }
    let shown = text::shorten(name, 200);
    let spans = shown.split('|').map(|part| {
        let longest = part.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        if part.is_empty() {
            String::new()
        } else if longest == 0 && !part.starts_with(' ') && !part.ends_with(' ') {
            format!("`{part}`")
        } else {
            // A fence longer than any inside; the blanks are taken off again when it is shown.
            let fence = "`".repeat(longest + 1);
            format!("{fence} {part} {fence}")
        }
    });
    spans.collect::<Vec<_>>().join("\\|")
}

/// A sentence from outside, escaped. Escapes do not keep mentions (`@name`), addresses and issue numbers (`#1`) from
/// becoming links, because those are looked for after escapes are resolved; code spans do.
fn prose(sentence: &str) -> String {
    let shown = text::shorten(sentence, 2000);
    let chars: Vec<char> = shown.trim().chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or(' ');
    let mut out = String::with_capacity(shown.len() + 16);
    let mut index = 0;
    while index < chars.len() {
        let c = chars[index];
        let before = if index == 0 { ' ' } else { at(index - 1) };
        let after = at(index + 1);
        if c == '@' || (c == '#' && after.is_alphanumeric()) {
            let end = (index..chars.len()).find(|&end| !matches!(at(end), '@' | '#')).unwrap_or(chars.len());
            out.push('`');
            out.extend(&chars[index..end]);
            out.push('`');
            index = end;
            continue;
        }
        let is_active = match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '~' | '|' | '$' | '{' | '}' | '&' | '#' => true,
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            // `https://` and `www.`
            ':' => after == '/',
            '.' => {
                let is_host = index >= 3 && chars[index - 3..index].iter().all(|c| c.eq_ignore_ascii_case(&'w'));
                is_host || (after == ' ' && is_list_number(&chars[..index]))
            }
            ')' => after == ' ' && is_list_number(&chars[..index]),
            '+' | '-' | '=' => index == 0,
            _ => false,
        };
        if is_active {
            out.push('\\');
        }
        out.push(c);
        index += 1;
    }
    out
}

fn is_list_number(chars: &[char]) -> bool {
    !chars.is_empty() && chars.iter().all(char::is_ascii_digit)
}

/// Our own figures: two dollar signs in a line would be read as mathematics.
fn own(text: &str) -> String {
    text.replace('$', "\\$")
}

struct Page {
    out: String,
    usual: f64,
}

/// How a column is set.
#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

use Align::{Left, Right};

impl Page {
    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn heading(&mut self, level: usize, title: &str) {
        let marks = "#".repeat(level);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\n{marks} {title}\n\n");
    }

    fn table(&mut self, columns: &[(&str, Align)], rows: &[Vec<String>]) {
        let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
        self.line(&format!("| {} |", titles.join(" | ")));
        let rule = columns.iter().map(|(_, align)| match align {
            Left => "---",
            Right => "---:",
        });
        let rule: Vec<&str> = rule.collect();
        self.line(&format!("| {} |", rule.join(" | ")));
        for row in rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
    }

    fn footnotes(&mut self, footnotes: &Footnotes) {
        for (number, reason) in footnotes.reasons() {
            self.line(&format!("\n({number}) {}", prose(reason)));
        }
    }

    fn head(&mut self, report: &Report) {
        self.line(&format!("# {}", code(&report.suite)));
        self.line("");
        if let Some(decision) = &report.decision {
            self.line(&format!("> {}", prose(decision)));
            self.line("");
        }
        if let Some(partial) = words::partial(report) {
            self.line(&format!("**{partial}**"));
            self.line("");
        }
        for note in report.notes.iter().filter(|note| words::is_urgent(note)) {
            self.line(&format!("**Note:** {}", prose(&note.text)));
            self.line("");
        }
        for invalid in words::invalid(report) {
            self.line(&format!("**{}**", prose(&invalid)));
            self.line("");
        }
        self.line(&format!("**{}**", words::outcome(report)));
        self.line("");
        let rows = report.candidates.iter().map(|candidate| {
            let verdict = candidate.verdict.map_or(NONE.to_owned(), |verdict| bold(words::verdict(verdict)));
            let why = words::why(report, candidate, code);
            vec![verdict, code(&candidate.id), code(&candidate.provider), why]
        });
        let mut rows: Vec<Vec<String>> = rows.collect();
        let mut columns = vec![("verdict", Left), ("candidate", Left), ("answered by", Left), ("why", Left)];
        if report.gates.is_empty() {
            columns = vec![("candidate", Left), ("answered by", Left)];
            for row in &mut rows {
                *row = row[1..3].to_vec();
            }
        }
        self.table(&columns, &rows);
        self.line("");
        self.line(&format!("- run: {}", code(&report.run)));
        self.line(&format!("- started: {}", code(&report.started)));
        self.line(&format!("- samples: {}", count(report.samples)));
        self.line(&format!("- baseline: {}", report.baseline.as_deref().map_or("none".to_owned(), code)));
        self.line(&format!("- evalctl: {}", code(&report.version)));
    }

    fn gates(&mut self, report: &Report) {
        if report.gates.is_empty() {
            return;
        }
        self.heading(2, "Gates");
        self.line("Each is judged by the interval of its figure, not by the figure alone.");
        self.line("");
        let rows: Vec<Vec<String>> = report.gates.iter().map(|gate| gate_row(report, gate)).collect();
        let columns = [
            ("verdict", Left),
            ("candidate", Left),
            ("gate", Left),
            ("judged", Left),
            ("confidence", Right),
            ("why", Left),
        ];
        self.table(&columns, &rows);
    }

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
        let mut text = own(&span.text(measure));
        text.push_str(&words::at_confidence(confidence, self.usual));
        if span.is_lacking() {
            text.push_str(&footnotes.mark(reason));
        }
        text
    }

    fn figures(&mut self, report: &Report, section: Section, title: &str, about: &str) {
        let names = words::metric_names(report, section);
        if names.is_empty() {
            return;
        }
        self.heading(2, title);
        self.line(&format!("Intervals in brackets: {}. {about}", figure::confidence(self.usual)));
        self.line("");
        let mut footnotes = Footnotes::default();
        let mut rows = Vec::new();
        for name in names {
            for candidate in &report.candidates {
                for metric in candidate.metrics.iter().filter(|metric| metric.name == name) {
                    rows.push(vec![
                        code(name),
                        code(&candidate.id),
                        self.figure(metric, &mut footnotes),
                        count(metric.n),
                        count(metric.missing),
                        words::method(metric.method).to_owned(),
                    ]);
                }
            }
        }
        let columns = [
            ("metric", Left),
            ("candidate", Left),
            ("figure", Left),
            ("n", Right),
            ("missing", Right),
            ("interval", Left),
        ];
        self.table(&columns, &rows);
        self.footnotes(&footnotes);
    }

    fn timing(&mut self, report: &Report) {
        let Some(replay) = &report.replay else { return };
        self.heading(2, "Timing");
        self.line(&format!("{}.", prose(&words::replayed(replay))));
        self.line("");
        self.line(
            "Lag is the time from when a request was planned to when it was sent. Service time runs from sending to",
        );
        self.line(
            "the end of the answer, response time from the planned time. KS is the Kolmogorov–Smirnov distance of the",
        );
        self.line(
            "gaps between requests as planned and as sent; gaps less than a millisecond apart count as the same. All times are milliseconds.",
        );
        self.line("");
        for (titles, row) in [
            (&words::KEPT[..], (|candidate| words::kept(candidate).to_vec()) as fn(&Punctual) -> Vec<String>),
            (&words::BOTH[..], |candidate| words::both(candidate).to_vec()),
        ] {
            let columns: Vec<_> =
                [("candidate", Left)].into_iter().chain(titles.iter().map(|title| (*title, Right))).collect();
            let rows: Vec<Vec<String>> = replay
                .candidates
                .iter()
                .map(|candidate| [vec![code(&candidate.candidate)], row(candidate)].concat())
                .collect();
            self.table(&columns, &rows);
            self.line("");
        }
        for candidate in &replay.candidates {
            let shown = words::shown(report, &candidate.candidate, code);
            for aside in words::asides(candidate).into_iter().chain(shown) {
                self.line(&format!("- {}: {aside}", code(&candidate.candidate)));
            }
        }
    }

    fn ledger(&mut self, report: &Report) {
        let lines = report.candidates.iter().flat_map(|candidate| {
            let ledger = words::ledger(candidate).map(|words| own(&words));
            let machines = candidate.machines.iter().flat_map(words::machines).map(|line| prose(&line));
            ledger.into_iter().chain(machines).map(|words| format!("- {}: {words}", code(&candidate.id)))
        });
        let lines: Vec<String> = lines.collect();
        if lines.is_empty() {
            return;
        }
        self.line("");
        lines.iter().for_each(|line| self.line(line));
    }

    fn comparisons(&mut self, report: &Report) {
        let Some(baseline) = report.baseline.as_ref().filter(|_| !report.comparisons.is_empty()) else { return };
        self.heading(2, &format!("Against {}", code(baseline)));
        self.line(&format!(
            "Differences are candidate − baseline, paired by sample; those of shares are in percentage points. Intervals \
             in brackets: {}. Fixed and broken count the samples that only the candidate or only the baseline gets \
             right. Missing counts the samples that only the candidate + only the baseline has a mark for. The p-values \
             are two-sided and not corrected for the number of comparisons.",
            figure::confidence(self.usual)
        ));
        self.line("");
        let mut footnotes = Footnotes::default();
        let mut rows = Vec::new();
        for section in [Section::Quality, Section::Speed, Section::Cost] {
            for name in words::compared_names(report, section) {
                for comparison in report.comparisons.iter().filter(|comparison| comparison.metric == name) {
                    rows.push(self.comparison_row(comparison, &mut footnotes));
                }
            }
        }
        let columns = [
            ("metric", Left),
            ("candidate", Left),
            ("difference", Left),
            ("ratio", Left),
            ("pairs", Right),
            ("missing", Right),
            ("fixed", Right),
            ("broken", Right),
            ("p-value", Left),
            ("interval", Left),
        ];
        self.table(&columns, &rows);
        self.footnotes(&footnotes);
        let resampled: Vec<&ComparisonReport> =
            report.comparisons.iter().filter(|comparison| comparison.bootstrap.is_some()).collect();
        if resampled.is_empty() {
            return;
        }
        self.line("");
        self.line("Bootstrap intervals of the same differences, as a check on the ones above:");
        self.line("");
        for comparison in resampled {
            let value = comparison.difference.as_ref().and_then(crate::report::Amount::number);
            let span = Span::new(value, comparison.bootstrap);
            self.line(&format!(
                "- {}, {}: {}",
                code(&comparison.metric),
                code(&comparison.candidate),
                own(&span.text(Measure::Difference(comparison.unit)))
            ));
        }
    }

    fn comparison_row(&self, comparison: &ComparisonReport, footnotes: &mut Footnotes) -> Vec<String> {
        let span = Span::of_comparison(comparison);
        let measure = Measure::Difference(comparison.unit);
        let difference = self.span(&span, measure, comparison.confidence, comparison.reason.as_deref(), footnotes);
        let ratio = comparison.ratio.as_ref().map_or(String::new(), |ratio| {
            self.span(&Span::of(ratio), Measure::Ratio, ratio.confidence, ratio.reason.as_deref(), footnotes)
        });
        let flips = comparison.discordant.as_ref();
        vec![
            code(&comparison.metric),
            code(&comparison.candidate),
            difference,
            ratio,
            count(comparison.n),
            format!("{} + {}", count(comparison.baseline_missing), count(comparison.candidate_missing)),
            flips.map_or(String::new(), |flips| count(flips.candidate_only)),
            flips.map_or(String::new(), |flips| count(flips.baseline_only)),
            figure::p_value(comparison.p_value).replace('<', "\\<"),
            words::method(comparison.method).to_owned(),
        ]
    }

    fn weights(&mut self, report: &Report) {
        let rows: Vec<Vec<String>> = report
            .candidates
            .iter()
            .filter_map(|candidate| {
                let facts = words::weights(candidate.weights.as_ref()?, prose);
                Some([vec![code(&candidate.id)], facts.to_vec()].concat())
            })
            .collect();
        if rows.is_empty() {
            return;
        }
        self.heading(2, "Weights");
        self.line("On this machine. Size is that of all files that decide about answers.");
        self.line("");
        let mut columns = vec![("candidate", Left)];
        columns.extend(words::WEIGHTS.into_iter().zip([Left, Right, Right, Left]));
        self.table(&columns, &rows);
    }

    fn tasks(&mut self, report: &Report) {
        self.heading(2, "Tasks");
        self.line("Tasks = scored + unscored + failed + dropped. Retries are attempts beyond the first.");
        self.line("");
        let mut footnotes = Footnotes::default();
        let rows: Vec<Vec<String>> =
            report.candidates.iter().map(|candidate| task_row(candidate, &mut footnotes)).collect();
        let columns = [
            ("candidate", Left),
            ("tasks", Right),
            ("scored", Right),
            ("unscored", Right),
            ("failed", Right),
            ("dropped", Right),
            ("retries", Right),
            ("spend", Right),
            ("failures", Left),
        ];
        self.table(&columns, &rows);
        self.footnotes(&footnotes);
        let said = report.candidates.iter().filter_map(|candidate| {
            let words = answered::in_words(&candidate.answered_by, code)?;
            Some(format!("- {}: {words}", code(&candidate.id)))
        });
        let said: Vec<String> = said.collect();
        if !said.is_empty() {
            self.line("");
            said.iter().for_each(|line| self.line(line));
        }
        let examples = report.candidates.iter().flat_map(|candidate| {
            words::examples(candidate, code, prose).map(|example| format!("- {}: {example}", code(&candidate.id)))
        });
        let examples: Vec<String> = examples.collect();
        if !examples.is_empty() {
            self.line("");
            examples.iter().for_each(|example| self.line(example));
        }
    }

    fn classes(&mut self, report: &Report) {
        if report.candidates.iter().all(|candidate| candidate.confusions.is_empty()) {
            return;
        }
        self.heading(2, "Classes");
        self.line("Rows of a matrix are the expected classes, columns the answered ones. Intervals in brackets: 95 %.");
        for candidate in &report.candidates {
            for confusion in &candidate.confusions {
                self.heading(3, &format!("{}, {}", code(&confusion.metric), code(&candidate.id)));
                self.matrix(confusion);
                self.class_figures(confusion);
            }
        }
    }

    fn matrix(&mut self, confusion: &Confusion) {
        let label = |class: &Option<String>| class.as_deref().map_or_else(|| "no label".to_owned(), code);
        let columns = columns(confusion);
        if columns.len() <= MATRIX_COLUMNS && confusion.classes.len() <= LISTED {
            let titles: Vec<String> = columns.iter().map(label).collect();
            let cells: HashMap<(&str, &Option<String>), u64> =
                confusion.cells.iter().map(|cell| ((cell.expected.as_str(), &cell.predicted), cell.count)).collect();
            let mut head = vec![("expected", Left)];
            head.extend(titles.iter().map(|title| (title.as_str(), Right)));
            let rows = confusion.classes.iter().map(|row| {
                let of = |column| count(cells.get(&(row.class.as_str(), column)).copied().unwrap_or(0));
                std::iter::once(code(&row.class)).chain(columns.iter().map(of)).collect()
            });
            let rows: Vec<Vec<String>> = rows.collect();
            self.table(&head, &rows);
            return;
        }
        let is_wrong = |cell: &&ConfusionCell| cell.predicted.as_ref() != Some(&cell.expected);
        let mut confused: Vec<&ConfusionCell> = confusion.cells.iter().filter(is_wrong).collect();
        let all = confused.len();
        confused.sort_by_key(|cell| std::cmp::Reverse(cell.count));
        confused.truncate(LISTED);
        self.line(&format!(
            "The matrix has {} rows and {} columns: too many to show. These are the {} most frequent of {all} \
             confusions; `report.json` has all.",
            confusion.classes.len(),
            columns.len(),
            confused.len()
        ));
        self.line("");
        let row = |cell: &&ConfusionCell| vec![code(&cell.expected), label(&cell.predicted), count(cell.count)];
        let rows: Vec<Vec<String>> = confused.iter().map(row).collect();
        self.table(&[("expected", Left), ("answered", Left), ("samples", Right)], &rows);
    }

    fn class_figures(&mut self, confusion: &Confusion) {
        self.line("");
        let share = |value, interval| {
            let span = Span::new(value, interval);
            span.text(Measure::Figure(Unit::Share))
        };
        let rows = confusion.classes.iter().take(LISTED).map(|class| {
            vec![
                code(&class.class),
                share(class.precision, class.precision_interval),
                share(class.recall, class.recall_interval),
                share(class.f1, None),
                count(class.support),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let columns = [("class", Left), ("precision", Left), ("recall", Left), ("F1", Left), ("samples", Right)];
        self.table(&columns, &rows);
        if confusion.classes.iter().any(|class| class.precision.is_none() || class.recall.is_none()) {
            self.line(&format!(
                "\n{NONE}: no answer names the class, so that it has no precision, or no sample is of it, so that it \
                 has no recall."
            ));
        }
        let more = confusion.classes.len().saturating_sub(LISTED);
        if more > 0 {
            self.line(&format!("\n{more} more classes stand in `report.json`."));
        }
    }

    fn flips(&mut self, report: &Report) {
        if report.comparisons.iter().all(|comparison| comparison.flips.is_empty()) {
            return;
        }
        self.heading(2, "Flips");
        self.line(&format!(
            "Samples that only one of the two gets right, at most {FLIPS_SHOWN} each way; `flips.csv` has all of them."
        ));
        for comparison in report.comparisons.iter().filter(|comparison| !comparison.flips.is_empty()) {
            self.heading(3, &format!("{}, {}", code(&comparison.metric), code(&comparison.candidate)));
            let list = |is_fixed: bool| {
                let of_kind = |flip: &&Flip| flip.is_fixed == is_fixed;
                let ids = comparison.flips.iter().filter(of_kind).take(FLIPS_SHOWN).map(|flip| code(&flip.sample));
                ids.collect::<Vec<_>>()
            };
            for (title, ids, all) in [
                ("fixed", list(true), comparison.discordant.map(|flips| flips.candidate_only)),
                ("broken", list(false), comparison.discordant.map(|flips| flips.baseline_only)),
            ] {
                if ids.is_empty() {
                    continue;
                }
                let all = all.map_or(String::new(), |all| format!(" ({} of {})", ids.len(), count(all)));
                self.line(&format!("- {title}{all}: {}", ids.join(", ")));
            }
        }
    }

    fn notes(&mut self, report: &Report) {
        if report.notes.is_empty() {
            return;
        }
        self.heading(2, "Notes");
        for note in &report.notes {
            let advice = note.advice.as_deref().map_or(String::new(), |advice| format!(" → {}", prose(advice)));
            self.line(&format!("- {}{advice}", prose(&note.text)));
        }
    }
}

fn bold(word: &str) -> String {
    format!("**{word}**")
}

fn gate_row(report: &Report, gate: &GateReport) -> Vec<String> {
    let span = Span::of_gate(gate);
    let judged = match figure::gate_measure(report, gate) {
        Some(measure) => own(&span.text(measure)),
        // The unit is not known: tokens are plain numbers.
        None => span.text(Measure::Figure(Unit::Tokens)),
    };
    let mut why = prose(&gate.reason);
    let more = Some(gate).filter(|gate| gate.verdict == Verdict::Inconclusive);
    if let Some(more) = more.and_then(|gate| words::more_samples(std::iter::once(gate))) {
        why.push_str("; ");
        why.push_str(&more);
    }
    vec![
        bold(words::verdict(gate.verdict)),
        code(&gate.candidate),
        prose(&gate.text),
        judged,
        figure::confidence(gate.confidence),
        why,
    ]
}

fn task_row(candidate: &CandidateReport, footnotes: &mut Footnotes) -> Vec<String> {
    let counts = &candidate.counts;
    let numbers = [counts.tasks, counts.scored, counts.unscored, counts.failed, counts.dropped, candidate.retries];
    let mut row = vec![code(&candidate.id)];
    row.extend(numbers.map(count));
    row.push(match &candidate.spend_usd {
        Some(spend) => own(&figure::money(spend)),
        None => format!("{NONE}{}", footnotes.mark(candidate.spend_reason.as_deref())),
    });
    let failures = candidate.failures.iter();
    let failures: Vec<String> =
        failures.map(|failure| format!("{} {}", count(failure.count), words::failure(failure.kind))).collect();
    row.push(failures.join(", "));
    row
}

/// The columns of a matrix: the classes, whatever else was answered, and no label if an answer had none.
fn columns(confusion: &Confusion) -> Vec<Option<String>> {
    let own = || confusion.classes.iter().map(|class| class.class.as_str());
    let classes: HashSet<&str> = own().collect();
    let answers = confusion.cells.iter().filter_map(|cell| cell.predicted.as_deref());
    let others: BTreeSet<&str> = answers.filter(|answer| !classes.contains(answer)).collect();
    let has_none = confusion.cells.iter().any(|cell| cell.predicted.is_none());
    let named = own().chain(others).map(|class| Some(class.to_owned()));
    named.chain(has_none.then_some(None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_code_span() {
        for (name, expected) in [
            ("qwen", "`qwen`"),
            ("a`b``c", "``` a`b``c ```"),
            ("`", "`` ` ``"),
            (" x", "`  x `"),
            ("a|b", "`a`\\|`b`"),
            ("|\\|", "\\|`\\`\\|"),
            ("", "(empty)"),
            ("a\nb", "`a\\nb`"),
        ] {
            assert_eq!(code(name), expected, "{name:?}");
        }
    }

    #[test]
    fn sentences_stay_sentences() {
        for (sentence, expected) in [
            ("latency_ms.p95 is at most 1,500 ms.", "latency_ms.p95 is at most 1,500 ms."),
            ("# head", "\\# head"),
            ("see #12, @bob, a@b.c", "see `#`12, `@`bob, a`@`b.c"),
            ("@@#x", "`@@#`x"),
            ("- item", "\\- item"),
            ("12. item", "12\\. item"),
            ("1.0 % of", "1.0 % of"),
            ("3.", "3\\."),
            ("1) item", "1\\) item"),
            ("===", "\\==="),
            ("_x_ *y* `z`", "\\_x\\_ \\*y\\* \\`z\\`"),
            ("[a](b) ![c](d)", "\\[a\\](b) !\\[c\\](d)"),
            ("<b>&amp;|~~", "\\<b\\>\\&amp;\\|\\~\\~"),
            ("https://x www.x WWW.x", "https\\://x www\\.x WWW\\.x"),
            ("costs $1 to $2", "costs \\$1 to \\$2"),
            ("a\nb\u{202e}", "a\\\\nb\\\\u\\{202e\\}"),
        ] {
            assert_eq!(prose(sentence), expected, "{sentence:?}");
        }
    }
}
