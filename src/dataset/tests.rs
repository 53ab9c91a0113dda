use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::suite::values::OneOrMany;
use crate::types::Row;
use crate::util::digest::{Digest, Hasher};

/// A folder that goes when it is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("evalctl-dataset-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn spec() -> DatasetSpec {
    DatasetSpec {
        path: OneOrMany(Vec::new()),
        id: None,
        input: None,
        target: None,
        cluster: None,
        tags: Vec::new(),
        select: None,
    }
}

/// What a suite says in its `dataset` entry.
fn spec_of(value: Value) -> DatasetSpec {
    let mut value = value;
    value["path"] = json!("unused");
    serde_json::from_value(value).unwrap()
}

/// Names and texts.
type Files<'a> = &'a [(&'a str, &'a str)];

fn open(scratch: &Scratch, files: Files<'_>, spec: &DatasetSpec) -> Result<Dataset, Faults> {
    let paths = files.iter().map(|(name, text)| scratch.write(name, text.as_bytes())).collect();
    Dataset::open(paths, files.iter().map(|(name, _)| (*name).to_owned()).collect(), spec)
}

fn scan_all(dataset: &Dataset) -> Result<Scan, Faults> {
    dataset.scan(None, None, 0, None, &mut |_| Ok(()))
}

/// Scans files and gives the samples of all rows.
fn samples(files: Files<'_>, spec: &DatasetSpec) -> Result<Vec<Sample>, Faults> {
    let scratch = Scratch::new();
    let dataset = open(&scratch, files, spec)?;
    let mut visited = Vec::new();
    let scan = dataset.scan(None, spec.select.as_ref(), 0, None, &mut |sample| {
        visited.push(sample.clone());
        Ok(())
    })?;
    let samples: Vec<Sample> = dataset.samples(&scan.selection).map(|sample| sample.unwrap()).collect();
    assert_eq!(samples.len() as u64, scan.samples);
    if scan.samples == scan.rows_read {
        assert_eq!(samples, visited);
    }
    Ok(samples)
}

fn ids(samples: &[Sample]) -> Vec<&str> {
    samples.iter().map(|sample| &*sample.id).collect()
}

#[test]
fn files_that_cannot_be_used_are_told_together() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("folder.jsonl")).unwrap();
    let names = ["none.jsonl", "folder.jsonl", "a.json", "a", "empty.csv"];
    for name in &names[2..4] {
        scratch.write(name, b"{}");
    }
    scratch.write("empty.csv", b"");
    let faults = Dataset::open(
        names.iter().map(|name| scratch.path(name)).collect(),
        names.iter().map(|name| format!("data/{name}")).collect(),
        &spec(),
    )
    .unwrap_err();
    let ending = "error: the ending of the name does not say how to read the file\n  --> data/";
    let help = "\n   = help: `.jsonl` files have one JSON object a line, `.csv` files a header and rows";
    assert_eq!(
        faults.to_string(),
        format!(
            "error: no such file\n  --> data/none.jsonl\n   = help: paths start from the suite's folder\n\n\
             error: a folder, not a file\n  --> data/folder.jsonl\n   = help: name the file in it\n\n\
             {ending}a.json{help}\n\n{ending}a{help}\n\n\
             error: the file is empty\n  --> data/empty.csv"
        )
    );
    let faults = Dataset::open(Vec::new(), Vec::new(), &spec()).unwrap_err();
    assert_eq!(faults.to_string(), "error: `dataset.path` names no file");
    let faults = Dataset::open(vec![PathBuf::from("/dev/null")], vec!["null.jsonl".to_owned()], &spec()).unwrap_err();
    assert_eq!(faults.0.len(), 1);
}

#[test]
fn ids_are_taken_or_made() {
    let cases = [
        (
            json!({}),
            "{\"id\":\"a b\"}\n{\"id\":7}\n{\"id\":true}\n{\"id\":\" 7\"}\n{\"id\":1.50}",
            vec!["a b", "7", "true", " 7", "1.5"],
        ),
        (json!({"id": "/m/k"}), "{\"m\":{\"k\":\"x\"},\"id\":1}\n{\"m\":{\"k\":\"y\"},\"id\":1}", vec!["x", "y"]),
    ];
    for (spec, text, expected) in cases {
        assert_eq!(ids(&samples(&[("a.jsonl", text)], &spec_of(spec)).unwrap()), expected);
    }

    let made = |value: &Value| format!("d-{}", &Digest::of(value.to_string().as_bytes()).to_string()[..16]);
    let text = "{\"input\":\"q\",\"n\":1}\n{\"id\":null,\"input\":[1, 2]}\n{\"x\":  1}\n{\"id\":\"given\"}";
    let of_json = samples(&[("a.jsonl", text)], &spec()).unwrap();
    let expected = [made(&json!("q")), made(&json!([1, 2])), made(&json!({"x": 1})), "given".to_owned()];
    assert_eq!(ids(&of_json), expected);
    // The same question has the same id in whatever file it stands, and so keeps its answers.
    let of_csv = samples(&[("a.csv", "question,n\nq,9\n")], &spec_of(json!({"input": "question"}))).unwrap();
    assert_eq!(of_csv[0].id, of_json[0].id);
}

#[test]
fn targets_tags_and_clusters() {
    let spec = spec_of(json!({"target": "/want/label", "cluster": "who", "tags": ["lang", "/m/n", "odd"]}));
    let text = concat!(
        "{\"id\":1,\"want\":{\"label\":[\"x\"]},\"who\":5,\"lang\":\"de\",\"m\":{\"n\":2},\"odd\":{}}\n",
        "{\"id\":2,\"want\":{},\"who\":\"5\",\"lang\":\"\",\"odd\":true}\n",
        "{\"id\":3,\"want\":{\"label\":null},\"who\":\"u\"}\n",
        "{\"id\":4,\"want\":{\"label\":\"\"},\"who\":\"u\"}\n",
    );
    let seen = samples(&[("a.jsonl", text)], &spec).unwrap();
    assert_eq!(seen[0].target, Some(json!(["x"])));
    assert_eq!((&seen[1].target, &seen[2].target, &seen[3].target), (&None, &None, &Some(json!(""))));
    let clusters: Vec<_> = seen.iter().map(|sample| sample.cluster.as_deref().unwrap()).collect();
    assert_eq!(clusters, ["5", "5", "u", "u"]);
    let tags: Vec<_> = seen.iter().map(|sample| serde_json::to_string(&sample.tags).unwrap()).collect();
    assert_eq!(tags, [r#"{"/m/n":"2","lang":"de"}"#, r#"{"odd":"true"}"#, "{}", "{}"]);
    assert_eq!(serde_json::to_string(&seen[1].row).unwrap(), text.lines().nth(1).unwrap());

    let csv = samples(&[("a.csv", "id,target,lang\n1,,\n2,0,en\n")], &spec_of(json!({"tags": ["lang"]}))).unwrap();
    assert_eq!((&csv[0].target, &csv[1].target), (&None, &Some(json!("0"))));
    assert_eq!((csv[0].tags.len(), csv[0].row["target"].as_str(), csv[0].cluster.as_deref()), (0, Some(""), None));
    // No target at all is fine when none is named.
    assert_eq!(samples(&[("a.csv", "id\n1\n")], &self::spec()).unwrap()[0].target, None);
}

#[test]
fn faults_of_rows() {
    let long = "x".repeat(4097);
    let cases: Vec<(&str, Files<'_>, Value, &str)> = vec![
        (
            "an id that is named must be there",
            &[("a.jsonl", "{\"key\":1}\n{\"kee\":2}\n{\"key\":null}\n{\"key\":[]}\n{\"key\":\"\"}")],
            json!({"id": "key"}),
            "error: the row has no field `key`, which is its id\n  --> a.jsonl:2\n   = help: did you mean `kee`?\n\n\
             error: `key`, the id of the row, is null\n  --> a.jsonl:3\n\n\
             error: `key`, the id of the row, is a list\n  --> a.jsonl:4\n   = help: an id is a text, a number or a truth \
             value\n\n\
             error: `key`, the id of the row, is empty\n  --> a.jsonl:5",
        ),
        (
            "a default id must be one too",
            &[("a.jsonl", "{\"id\":{}}\n"), ("b.csv", "id,x\n,1\n")],
            json!({}),
            "error: `id`, the id of the row, is an object\n  --> a.jsonl:1\n   = help: an id is a text, a number or a truth \
             value\n\n\
             error: `id`, the id of the row, is empty\n  --> b.csv:2",
        ),
        (
            "ids are unique in all files, whatever their type",
            &[("a.jsonl", "{\"id\":1}\n\n{\"id\":2}"), ("b.csv", "id\n3\n1\n1\n")],
            json!({}),
            "error: the id `1` is taken by the row at a.jsonl:1\n  --> b.csv:3\n   = help: answers are joined by id, so that \
             it must be unique in all files of the dataset\n\n\
             error: the id `1` is taken by the row at a.jsonl:1\n  --> b.csv:4\n   = help: answers are joined by id, so that \
             it must be unique in all files of the dataset",
        ),
        (
            "rows without ids that ask the same",
            &[("a.jsonl", "{\"input\":\"q\",\"n\":1}\n{\"input\":\"q\",\"n\":2}")],
            json!({}),
            "error: the row asks the same as the one at a.jsonl:1, and neither has an id\n  --> a.jsonl:2\n   = help: take one \
             of them out, or give the rows ids",
        ),
        (
            "named fields that no row has",
            &[("a.jsonl", "{\"id\":1,\"expected\":2,\"lang\":3}\n{\"id\":2}")],
            json!({"id": "idd", "input": "text", "target": "expectd", "cluster": "customer", "tags": ["lang", "lnag"],
                   "select": {"sample": 1, "stratify": "Lang"}}),
            "error: no row has the field `idd`, which `dataset.id` names\n  --> a.jsonl\n   = help: did you mean `id`?\n\n\
             error: no row has the field `text`, which `dataset.input` names\n  --> a.jsonl\n   = help: the fields are `id`, \
             `expected`, `lang`\n\n\
             error: no row has the field `expectd`, which `dataset.target` names\n  --> a.jsonl\n   = help: did you mean \
             `expected`?\n\n\
             error: no row has the field `customer`, which `dataset.cluster` names\n  --> a.jsonl\n   = help: the fields are \
             `id`, `expected`, `lang`\n\n\
             error: no row has the field `lnag`, which `dataset.tags` names\n  --> a.jsonl\n   = help: did you mean `lang`?\n\n\
             error: no row has the field `Lang`, which `dataset.select.stratify` names\n  --> a.jsonl\n   = help: did you mean \
             `lang`?",
        ),
        (
            "a cluster must be named by every row",
            &[("a.jsonl", "{\"id\":1,\"c\":\"x\"}\n{\"id\":2}\n{\"id\":3,\"c\":\"\"}\n{\"id\":4,\"c\":[]}")],
            json!({"cluster": "c"}),
            "error: the row has no field `c`, which names its cluster\n  --> a.jsonl:2\n   = help: a row that shares its source \
             with no other gets a cluster of its own\n\n\
             error: `c`, the cluster of the row, is an empty text\n  --> a.jsonl:3\n   = help: a row that shares its source \
             with no other gets a cluster of its own\n\n\
             error: `c`, the cluster of the row, is a list\n  --> a.jsonl:4\n   = help: a row that shares its source with no \
             other gets a cluster of its own",
        ),
        (
            "what cannot be read, in all files",
            &[("a.jsonl", "{\"id\":1}\n[]\n"), ("b.csv", "id,\"x\n1,2\n"), ("c.csv", "id,x\n1\n"), ("d.jsonl", "\n")],
            json!({}),
            "error: a row must be a JSON object, not a list\n  --> a.jsonl:2:1\n   |\n 2 | []\n   | ^\n   = help: write one \
             object a line, without a list around them\n\n\
             error: a quote that is opened in this row is never closed\n  --> b.csv:1\n   = help: inside quotes a quote is \
             written twice: \"\"\n\n\
             error: this row has 1 cell, the header has 2\n  --> c.csv:2\n   = help: a cell that holds a comma, a quote or a \
             line end must stand in quotes\n\n\
             error: the file has no rows\n  --> d.jsonl",
        ),
        (
            "strata are texts, numbers or truth values",
            &[("a.jsonl", "{\"id\":1,\"s\":\"x\"}\n{\"id\":2,\"s\":{}}")],
            json!({"select": {"sample": 1, "stratify": "s"}}),
            "error: `s`, by which `dataset.select.stratify` parts the rows, is an object\n  --> a.jsonl:2",
        ),
        (
            "a draw of none",
            &[("a.jsonl", "{\"id\":1}")],
            json!({"select": {"sample": 0}}),
            "error: `dataset.select.sample` is 0, so that no row is used\n  --> a.jsonl",
        ),
        (
            "a limit of none",
            &[("a.jsonl", "{\"id\":1}")],
            json!({"select": {"limit": 0}}),
            "error: `dataset.select.limit` is 0, so that no row is used\n  --> a.jsonl",
        ),
    ];
    for (what, files, spec, expected) in cases {
        let faults = samples(files, &spec_of(spec)).unwrap_err();
        assert_eq!(faults.to_string(), expected, "{what}");
    }
    let faults = samples(&[("a.csv", &format!("id\n{long}\n{}\n", &long[..4096]))], &spec()).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "error: `id`, the id of the row, has 4097 characters; 4096 are the most\n  --> a.csv:2"
    );
}

#[test]
fn of_many_faults_the_first_are_told_and_the_rest_counted() {
    let text = "{\"id\":1}\n".to_owned() + &"{\n".repeat(10_000);
    let faults = samples(&[("a.jsonl", &text)], &spec()).unwrap_err().0;
    assert_eq!(faults.len(), SHOWN_FAULTS + 1);
    assert_eq!(faults[0].place.line, Some(2));
    assert_eq!(faults[SHOWN_FAULTS].to_string(), "error: 9980 more faults are not shown");

    // Faults of different kinds keep the order of the lines.
    let rows: String = (0..30).map(|n| if n % 2 == 0 { "{\"c\":1}\n" } else { "{\"id\":1}\n" }).collect();
    let faults = samples(&[("a.jsonl", &rows)], &spec_of(json!({"id": "id", "cluster": "c"}))).unwrap_err().0;
    let lines: Vec<_> = faults.iter().filter_map(|fault| fault.place.line).collect();
    assert_eq!(lines, (1..=20).collect::<Vec<_>>());
    assert_eq!(faults[20].message, "10 more faults are not shown");
}

/// Rows `{"id": n, "kind": …}`, with a kind `b` for every fourth.
fn many(rows: std::ops::Range<u64>) -> String {
    rows.map(|n| format!("{{\"id\":{n},\"kind\":\"{}\"}}\n", if n % 4 == 0 { 'b' } else { 'a' })).collect()
}

#[test]
fn rows_are_filtered_then_drawn_then_limited() {
    let scratch = Scratch::new();
    let (one, two) = (many(0..9_000), many(9_000..12_000));
    let dataset = open(&scratch, &[("one.jsonl", &one), ("two.jsonl", &two)], &spec()).unwrap();
    let even = |row: &Row| Ok(row["id"].as_u64().unwrap().is_multiple_of(2));
    let select = |value: Value| -> SelectSpec { serde_json::from_value(value).unwrap() };
    let run = |select: &SelectSpec, limit: Option<u64>| {
        let mut visited = 0_u64;
        let scan = dataset
            .scan(Some(&even), Some(select), 3, limit, &mut |sample| {
                assert_eq!(&*sample.id, (visited * 2).to_string());
                visited += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!((scan.rows_read, scan.rows_kept, visited, scan.rows_with_target), (12_000, 6_000, 6_000, 0));
        assert_eq!(scan.fields, ["id", "kind"]);
        let samples: Vec<u64> =
            dataset.samples(&scan.selection).map(|sample| sample.unwrap().id.parse().unwrap()).collect();
        assert!(samples.is_sorted() && samples.iter().all(|id| id % 2 == 0));
        assert_eq!(samples.len() as u64, scan.samples);
        samples
    };
    assert_eq!(run(&select(json!({})), None).len(), 6_000);
    assert_eq!(run(&select(json!({"limit": 5})), None), [0, 2, 4, 6, 8]);
    assert_eq!(run(&select(json!({"limit": 5})), Some(2)), [0, 2]);
    assert_eq!(run(&select(json!({"limit": 2})), Some(5)), [0, 2]);

    let drawn = run(&select(json!({"sample": 100})), None);
    assert_eq!(drawn.len(), 100);
    assert!(drawn.iter().any(|id| *id >= 9_000) && drawn.iter().any(|id| *id < 4_000));
    assert_eq!(run(&select(json!({"sample": 100, "seed": 3})), None), drawn);
    assert_ne!(run(&select(json!({"sample": 100, "seed": 4})), None), drawn);
    assert_eq!(run(&select(json!({"sample": 100, "limit": 10})), None), drawn[..10]);
    assert_eq!(run(&select(json!({"sample": 99_999})), None).len(), 6_000);

    // Of the even ids, every second is of kind `b`.
    let drawn = run(&select(json!({"sample": 101, "stratify": "kind"})), None);
    let b = drawn.iter().filter(|id| *id % 4 == 0).count();
    assert_eq!((drawn.len(), b), (101, 51), "the odd one goes to the stratum that comes first");

    let none = dataset.scan(Some(&|_| Ok(false)), None, 0, None, &mut |_| Ok(())).unwrap_err();
    assert_eq!(none.to_string(), "error: `dataset.select.where` is true for none of the 12000 rows\n  --> one.jsonl");
    let none = dataset.scan(None, None, 0, Some(0), &mut |_| Ok(())).unwrap_err();
    assert_eq!(none.to_string(), "error: the limit is 0, so that no row is used\n  --> one.jsonl");
}

#[test]
fn rows_that_are_filtered_out_need_neither_id_nor_cluster() {
    let scratch = Scratch::new();
    let text = "{\"k\":1,\"c\":1}\n{\"use\":false}\n{\"k\":[],\"use\":false}\n{\"k\":2,\"c\":1}\n";
    let dataset = open(&scratch, &[("a.jsonl", text)], &spec_of(json!({"id": "k", "cluster": "c"}))).unwrap();
    let scan = dataset.scan(Some(&|row: &Row| Ok(!row.contains_key("use"))), None, 0, None, &mut |_| Ok(())).unwrap();
    let seen: Vec<Sample> = dataset.samples(&scan.selection).map(|sample| sample.unwrap()).collect();
    assert_eq!(ids(&seen), ["1", "2"]);
}

#[test]
fn a_missing_stratum_is_a_stratum() {
    let text: String = (0..40)
        .map(|n| if n < 30 { format!("{{\"id\":{n}}}\n") } else { format!("{{\"id\":{n},\"s\":1}}\n") })
        .collect();
    let spec = spec_of(json!({"select": {"sample": 4, "stratify": "s"}}));
    let seen = samples(&[("a.jsonl", &text)], &spec).unwrap();
    assert_eq!(seen.iter().filter(|sample| sample.row.contains_key("s")).count(), 1);
}

#[test]
fn what_callers_find_is_told_with_the_line() {
    let scratch = Scratch::new();
    let dataset = open(&scratch, &[("a.csv", "id,x\n1,\"a\nb\"\n2,c\n3,d\n")], &spec()).unwrap();
    let filter = |row: &Row| if row["id"] == "2" { Err("`x` has no length".to_owned()) } else { Ok(true) };
    let mut visit = |sample: &Sample| if &*sample.id == "3" { Err("no `y` here".to_owned()) } else { Ok(()) };
    let faults = dataset.scan(Some(&filter), None, 0, None, &mut visit).unwrap_err();
    assert_eq!(faults.to_string(), "error: `x` has no length\n  --> a.csv:4\n\nerror: no `y` here\n  --> a.csv:5");
}

#[test]
fn the_digest_is_that_of_the_bytes() {
    let scratch = Scratch::new();
    let (one, two) = ("\u{feff}{\"id\":1}\r\n\n", "id\n2");
    let scan = |files: Files<'_>| scan_all(&open(&scratch, files, &spec()).unwrap()).unwrap();
    assert_eq!(scan(&[("a.jsonl", one)]).digest, Digest::of(one.as_bytes()));
    let both = Hasher::default().part(&Digest::of(one.as_bytes()).0).part(&Digest::of(two.as_bytes()).0).finish();
    assert_eq!(scan(&[("a.jsonl", one), ("b.csv", two)]).digest, both);
}

#[test]
fn a_file_that_changes_between_the_passes_is_a_fault() {
    let changed = "error: cannot be read: it has changed since it was first read\n  --> a.jsonl";
    type Change<'a> = (&'a str, &'a dyn Fn(&Path), &'a str);
    let change: [Change<'_>; 4] = [
        ("longer", &|path| fs::write(path, "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").unwrap(), changed),
        (
            "touched",
            &|path| {
                let file = fs::File::options().append(true).open(path).unwrap();
                file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            },
            changed,
        ),
        (
            "another file",
            &|path| {
                let modified = fs::metadata(path).unwrap().modified().unwrap();
                let other = path.with_extension("new");
                fs::write(&other, "{\"id\":1}\n{\"id\":3}\n").unwrap();
                fs::File::options().append(true).open(&other).unwrap().set_modified(modified).unwrap();
                fs::rename(other, path).unwrap();
            },
            changed,
        ),
        (
            "gone",
            &|path| fs::remove_file(path).unwrap(),
            "error: cannot be read: No such file or directory (os error 2)\n  --> a.jsonl",
        ),
    ];
    for (what, change, expected) in change {
        let scratch = Scratch::new();
        let dataset = open(&scratch, &[("a.jsonl", "{\"id\":1}\n{\"id\":2}\n")], &spec()).unwrap();
        let scan = scan_all(&dataset).unwrap();
        let before = dataset.samples(&scan.selection);
        change(&scratch.path("a.jsonl"));
        for mut samples in [before, dataset.samples(&scan.selection)] {
            assert_eq!(samples.next().unwrap().unwrap_err().to_string(), expected, "{what}");
            assert!(samples.next().is_none(), "{what}");
        }
        assert_eq!(scan_all(&dataset).unwrap_err().to_string(), expected, "{what}");
    }
}

#[test]
fn a_file_that_changes_during_the_second_pass_is_a_fault_at_the_latest_at_its_end() {
    let scratch = Scratch::new();
    let dataset = open(&scratch, &[("a.jsonl", "{\"id\":1}\n{\"id\":2}\n")], &spec()).unwrap();
    let scan = scan_all(&dataset).unwrap();
    let mut samples = dataset.samples(&scan.selection);
    assert_eq!(&*samples.next().unwrap().unwrap().id, "1");
    scratch.write("a.jsonl", b"{\"id\":5}\n{\"id\":7}\n{}\n");
    let left: Vec<_> = samples.collect();
    assert!(left.last().unwrap().is_err(), "{left:?}");
}

#[test]
fn a_selection_that_asks_for_more_than_there_is_ends_in_a_fault() {
    let scratch = Scratch::new();
    let dataset = open(&scratch, &[("a.jsonl", "{\"id\":1}\n")], &spec()).unwrap();
    let seen: Vec<_> = dataset.samples(&Selection::all(2)).collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[1].as_ref().unwrap_err().to_string(),
        "error: rows of the dataset are gone: its files have changed"
    );
}

#[test]
fn samples_can_be_sent_to_another_thread_and_outlive_the_dataset() {
    let scratch = Scratch::new();
    let dataset = open(&scratch, &[("a.jsonl", &many(0..3))], &spec()).unwrap();
    let samples = dataset.samples(&scan_all(&dataset).unwrap().selection);
    drop(dataset);
    assert_eq!(samples.size_hint(), (0, Some(4)));
    let count = std::thread::spawn(move || samples.filter(Result::is_ok).count()).join().unwrap();
    assert_eq!(count, 3);
}

#[test]
fn field_names_are_kept_up_to_a_bound() {
    let text: String = (0..1500).map(|n| format!("{{\"id\":{n},\"f{n}\":1}}\n")).collect();
    let scratch = Scratch::new();
    let dataset = open(&scratch, &[("a.jsonl", &text)], &spec()).unwrap();
    let fields = scan_all(&dataset).unwrap().fields;
    assert_eq!((fields.len(), &*fields[0], &*fields[1], &*fields[999]), (MAX_FIELDS, "id", "f0", "f998"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever stands in a file, it is read or refused, in both passes alike.
    #[test]
    fn no_bytes_do_harm(
        bytes in prop::collection::vec(prop::sample::select(&b"{}[]\",:\\n\n\r\x00\xff\xc3\xa4 a1id\xef\xbb\xbf"[..]), 1..60),
        name in prop::sample::select(vec!["a.jsonl", "a.csv", "a.tsv"]),
    ) {
        let scratch = Scratch::new();
        let path = scratch.write(name, &bytes);
        let dataset = Dataset::open(vec![path.clone()], vec![name.to_owned()], &spec()).unwrap();
        if let Ok(scan) = scan_all(&dataset) {
            let samples: Result<Vec<Sample>, Fault> = dataset.samples(&scan.selection).collect();
            prop_assert_eq!(samples.unwrap().len() as u64, scan.rows_read);
        }
        if let Ok(indexed) = Indexed::open(&path, name, "id") {
            prop_assert!(indexed.get("1").is_ok());
        }
    }

    /// CSV that the `csv` crate has written comes back.
    #[test]
    fn cells_come_back(rows in prop::collection::vec(prop::collection::vec("[a\",\n\r ü]{0,5}", 2), 1..20)) {
        let mut writer = ::csv::Writer::from_writer(Vec::new());
        writer.write_record(["id", "a", "b"]).unwrap();
        for (index, row) in rows.iter().enumerate() {
            writer.write_record([&index.to_string(), &row[0], &row[1]]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let seen = samples(&[("a.csv", &text)], &spec()).unwrap();
        prop_assert_eq!(seen.len(), rows.len());
        for (sample, row) in seen.iter().zip(&rows) {
            prop_assert_eq!((&sample.row["a"], &sample.row["b"]), (&json!(row[0]), &json!(row[1])));
        }
    }
}
