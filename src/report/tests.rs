//! Every form of the example reports: as committed, fit for its reader, and unharmed by hostile text.

use std::path::Path;
use std::{env, fs};

use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::report::example::{self, PAYLOAD};
use crate::report::schema::strict_schema;
use crate::report::*;
use crate::types::{AtWorst, ConfusionCell};
use crate::util::text;

fn rendered(renderer: &dyn Renderer, report: &Report) -> String {
    let mut out = Vec::new();
    renderer.render(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn terminal(width: u16) -> Terminal {
    Terminal { width, is_coloured: false }
}

/// Compares with the committed text, or writes it when `UPDATE_SNAPSHOTS=1` is set.
fn check_snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report/snapshots").join(name);
    if env::var_os("UPDATE_SNAPSHOTS").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let committed = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, committed, "{name} has changed: run with UPDATE_SNAPSHOTS=1 and read the difference");
}

#[test]
fn every_form_is_as_committed() {
    let rich = example::rich();
    check_snapshot("rich-80.txt", &rendered(&terminal(80), &rich));
    check_snapshot("rich-120.txt", &rendered(&terminal(120), &rich));
    check_snapshot("rich-coloured-80.txt", &rendered(&Terminal { width: 80, is_coloured: true }, &rich));
    check_snapshot("partial-80.txt", &rendered(&terminal(80), &example::partial()));
    check_snapshot("measurement-80.txt", &rendered(&terminal(80), &example::measurement()));
    check_snapshot("rich.md", &rendered(&Markdown, &rich));
    check_snapshot("partial.md", &rendered(&Markdown, &example::partial()));
    check_snapshot("measurement.md", &rendered(&Markdown, &example::measurement()));
    check_snapshot("rich.json", &rendered(&Json, &rich));
    check_snapshot("rich.csv", &rendered(&Csv, &rich));
    let mut flips = Vec::new();
    flips_csv(&example::comparisons(), &mut flips).unwrap();
    check_snapshot("flips.csv", std::str::from_utf8(&flips).unwrap());
    check_snapshot("schema.json", &(serde_json::to_string_pretty(&report_schema()).unwrap() + "\n"));
}

fn all() -> [Report; 4] {
    [example::rich(), example::partial(), example::measurement(), example::hostile()]
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for report in all() {
        for width in [40, 60, 80, 100, 120, 200] {
            for line in rendered(&terminal(width), &report).lines() {
                assert!(line.width() <= usize::from(width), "{width}: {line}");
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for report in all() {
        let plain = rendered(&terminal(80), &report);
        let coloured = rendered(&Terminal { width: 80, is_coloured: true }, &report);
        let mut stripped = coloured.clone();
        for code in ["\u{1b}[1;31m", "\u{1b}[1;32m", "\u{1b}[1;33m", "\u{1b}[1m", "\u{1b}[0m"] {
            stripped = stripped.replace(code, "");
        }
        assert_eq!(stripped, plain);
        assert_ne!(coloured, plain);
    }
}

#[test]
fn what_comes_first_is_what_decides() {
    let head = |report: &Report| rendered(&terminal(80), report).lines().take(16).collect::<Vec<_>>().join("\n");
    let rich = head(&example::rich());
    for needed in ["May ticket triage move", "FAIL", "PASS", "about 1,300 more samples", "400 samples", "1a2b"] {
        assert!(rich.contains(needed), "{needed} not in\n{rich}");
    }
    let partial = head(&example::partial());
    assert!(partial.contains("PARTIAL") && partial.contains("120 of 1,600"), "{partial}");
    assert!(partial.contains("the gates are not those"), "{partial}");
    let measurement = rendered(&terminal(80), &example::measurement());
    assert!(measurement.contains("the suite has no gates"), "{measurement}");
    assert!(!measurement.contains("PASS") && !measurement.contains("FAIL"), "{measurement}");
}

#[test]
fn reports_are_valid_against_their_schema_and_come_back() {
    let open = jsonschema::validator_for(&report_schema()).unwrap();
    let strict = jsonschema::validator_for(&strict_schema()).unwrap();
    for report in all() {
        let text = rendered(&Json, &report);
        assert!(text.ends_with("}\n"));
        let mut value: Value = serde_json::from_str(&text).unwrap();
        let faults: Vec<String> = strict.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(serde_json::from_value::<Report>(value.clone()).unwrap(), report);
        // Readers get along with fields of later versions, and miss those that are gone.
        value["candidates"][0]["later"] = 1.into();
        assert!(open.is_valid(&value) && !strict.is_valid(&value));
        value.as_object_mut().unwrap().remove("notes");
        assert!(!open.is_valid(&value));
    }
}

#[test]
fn what_is_no_number_becomes_null_with_a_reason() {
    let estimate = |value| Estimate {
        name: "cost_usd".to_owned(),
        unit: Unit::Usd,
        value: Some(value),
        lower: Some(0.0),
        upper: Some(f64::INFINITY),
        confidence: 0.95,
        n: 3,
        missing: 0,
        at_worst: AtWorst::default(),
        method: Method::T,
        reason: None,
    };
    for value in [f64::NAN, f64::INFINITY, 1e300] {
        let metric = Metric::of(&estimate(value));
        assert_eq!((metric.value.clone(), metric.upper.clone()), (None, None));
        assert!(metric.reason.is_some());
        let mut report = example::rich();
        report.candidates[0].metrics = vec![metric];
        report.comparisons[0].p_value = Some(f64::NAN);
        for renderer in [&terminal(80) as &dyn Renderer, &Markdown, &Json, &Csv] {
            let text = rendered(renderer, &report);
            assert!(!text.contains("NaN") && !text.contains("inf]") && !text.contains("1e300"), "{text}");
        }
    }
    assert_eq!(Amount::of(0.000123, Unit::Usd), Some(Amount::Money("0.000123".to_owned())));
}

#[test]
fn no_form_lets_through_what_cannot_be_seen() {
    let hostile = example::hostile();
    assert!(hostile.candidates[0].id.starts_with(PAYLOAD));
    for renderer in [&terminal(80) as &dyn Renderer, &terminal(120), &Markdown, &Json, &Csv] {
        let out = rendered(renderer, &hostile);
        let hidden = out.chars().find(|c| *c != '\n' && text::is_unprintable(*c));
        assert_eq!(hidden, None, "{}", renderer.extension());
    }
    let coloured = rendered(&Terminal { width: 80, is_coloured: true }, &hostile);
    assert!(!coloured.contains("\u{1b}[31m") && !coloured.contains('\u{9b}'));
}

/// The headings, table shapes and everything active that a Markdown reader sees.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    headings: usize,
    tables: Vec<(usize, usize)>,
    items: usize,
    active: Vec<String>,
}

fn seen(markdown: &str) -> Seen {
    let mut seen = Seen::default();
    for event in Parser::new_ext(markdown, Options::all() - Options::ENABLE_SMART_PUNCTUATION) {
        match event {
            Event::Start(Tag::Heading { .. }) => seen.headings += 1,
            Event::Start(Tag::Table(columns)) => seen.tables.push((columns.len(), 0)),
            Event::Start(Tag::TableRow) => {
                if let Some((_, rows)) = seen.tables.last_mut() {
                    *rows += 1;
                }
            }
            Event::Start(Tag::Item) => seen.items += 1,
            Event::Start(
                tag @ (Tag::Link { .. }
                | Tag::Image { .. }
                | Tag::HtmlBlock
                | Tag::CodeBlock(_)
                | Tag::Emphasis
                | Tag::Strikethrough
                | Tag::FootnoteDefinition(_)
                | Tag::MetadataBlock(_)),
            ) => seen.active.push(format!("{tag:?}")),
            Event::Html(html) | Event::InlineHtml(html) => seen.active.push(html.to_string()),
            Event::InlineMath(text) | Event::DisplayMath(text) => seen.active.push(text.to_string()),
            // Mentions, issue numbers, addresses and hosts become links after the parsing, wherever they are text.
            Event::Text(text) if text.contains('@') || text.contains("#1") => seen.active.push(text.to_string()),
            _ => {}
        }
    }
    seen
}

#[test]
fn hostile_text_does_not_become_markup() {
    // The same report with and without the payload has the same shape, and nothing active in either.
    let plain = seen(&rendered(&Markdown, &example::partial()));
    let hostile = seen(&rendered(&Markdown, &example::hostile()));
    assert_eq!(plain.active, Vec::<String>::new());
    assert_eq!(hostile, plain);
    assert!(plain.tables.len() >= 8 && plain.headings >= 8, "{plain:?}");
    // The parser does see such things when they are not escaped.
    let active = seen("[a](b) ![c](d) x <b> *i* $x$ ~~s~~ @user").active;
    assert_eq!(active.len(), 7, "{active:?}");
    let text = rendered(&Markdown, &example::hostile());
    let code: Vec<String> = Parser::new_ext(&text, Options::ENABLE_TABLES)
        .filter_map(|event| if let Event::Code(code) = event { Some(code.to_string()) } else { None })
        .collect();
    for raw in ["://e", "www.e", "<script", "](javascript", "@user", "#1", "$x$", "&lt;"] {
        let harmless: usize = code.iter().map(|code| code.matches(raw).count()).sum();
        let escaped = text.matches(&format!("\\{raw}")).count();
        assert_eq!(text.matches(raw).count(), harmless + escaped, "{raw} stands outside of code");
    }
}

#[test]
fn hostile_text_is_no_formula_and_no_cell_of_its_own() {
    for report in all() {
        let text = rendered(&Csv, &report);
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let width = reader.headers().unwrap().len();
        let mut rows = 0;
        for row in reader.records() {
            let row = row.unwrap();
            assert_eq!(row.len(), width);
            rows += 1;
            for cell in &row {
                let is_number = cell.parse::<f64>().is_ok();
                assert!(is_number || !cell.trim_start().starts_with(['=', '+', '-', '@']), "{cell}");
            }
        }
        let metrics: usize = report.candidates.iter().map(|candidate| candidate.metrics.len()).sum();
        assert_eq!(text.matches(",metric,").count(), metrics + 1, "with the header's");
        assert!(rows > metrics);
    }
}

#[test]
fn long_texts_and_many_classes_stay_bounded() {
    let mut report = example::rich();
    let long = "x".repeat(1_000_000);
    report.candidates[0].id = long.clone();
    report.gates[0].reason = long.clone();
    report.notes[0].text = long;
    let confusion = &mut report.candidates[3].confusions[0];
    let rows: Vec<String> = confusion.classes.iter().map(|class| class.class.clone()).collect();
    let cell = |row: &String, class| ConfusionCell {
        expected: row.clone(),
        predicted: Some(format!("class-{class}")),
        count: 1,
    };
    confusion.cells = rows.iter().flat_map(|row| (0..5000).map(move |class| cell(row, class))).collect();
    for (renderer, limit) in [(&terminal(80) as &dyn Renderer, 40_000), (&Markdown, 60_000)] {
        let text = rendered(renderer, &report);
        assert!(text.len() < limit, "{}: {}", renderer.extension(), text.len());
    }
    assert!(rendered(&Markdown, &report).contains("the 100 most frequent of 15000 confusions"));
    report.candidates[3].confusions[0].cells.truncate(2);
    assert!(rendered(&Markdown, &report).contains("| `退款` | 0 | 0 |"));
}

#[test]
fn a_comparison_lists_its_first_flips_each_way() {
    let comparisons = example::comparisons();
    let odd = comparisons.iter().find(|comparison| comparison.candidate == example::ODD).unwrap();
    let shown = ComparisonReport::of(odd);
    assert_eq!(shown.flips.iter().filter(|flip| flip.is_fixed).count(), 4);
    assert_eq!(shown.flips.iter().filter(|flip| !flip.is_fixed).count(), FLIPS_SHOWN);
    assert_eq!(odd.flips.len(), 66);
}

#[test]
fn files_are_written_side_by_side_and_formats_are_named() {
    let dir = env::temp_dir().join(format!("evalctl-report-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    write_all(&dir, &example::rich()).unwrap();
    let mut names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["report.csv", "report.json", "report.md"]);
    assert_eq!(fs::read_to_string(dir.join("report.md")).unwrap(), rendered(&Markdown, &example::rich()));
    fs::remove_dir_all(&dir).unwrap();
    assert!(write_all(&dir, &example::rich()).is_err());

    for (name, extension) in [("terminal", "txt"), ("md", "md"), ("json", "json"), ("csv", "csv")] {
        assert_eq!(name.parse::<Format>().unwrap().renderer(80, false).extension(), extension);
    }
    let error = "pdf\u{1b}".parse::<Format>().unwrap_err();
    assert_eq!(error.to_string(), "unknown format `pdf\\u{1b}`: expected one of terminal, md, json, csv");
}
