//! The first pass: every row is read and checked before anything is sent.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::dataset::Dataset;
use crate::dataset::draft::{Draft, Fields, IdFault};
use crate::dataset::faults::Log;
use crate::dataset::jsonl;
use crate::dataset::rows::{Rows, no_rows};
use crate::dataset::select::{self, Bits, Selection};
use crate::dataset::source::{Source, Watched};
use crate::suite::spec::SelectSpec;
use crate::types::{Fault, Faults, Place, Row, Sample};
use crate::util::digest::{Digest, Digesting, Hasher};
use crate::util::field;
use crate::util::text::{did_you_mean, shorten};

/// The most field names that are kept.
pub const MAX_FIELDS: usize = 1000;

/// What a first pass over a dataset found, when it found no fault.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The rows that are used.
    pub selection: Selection,
    /// Rows in all files.
    pub rows_read: u64,
    /// Rows that the filter kept; all rows without one. Never fewer than `samples`.
    pub rows_kept: u64,
    /// Rows that are used: what `sample` and `limit` left of `rows_kept`.
    pub samples: u64,
    /// Rows that the filter kept and that have a target. The others can only be marked by scorers that need none.
    pub rows_with_target: u64,
    /// Of one file, the digest of its bytes; of several, the digest of theirs, in order.
    pub digest: Digest,
    /// Names of the top-level fields of all rows, in the order in which they first occur; the first [`MAX_FIELDS`].
    pub fields: Vec<String>,
}

/// What decides whether a row is kept.
pub type Filter<'a> = &'a dyn Fn(&Row) -> Result<bool, String>;

/// What a caller looks at each kept row with.
pub type Visit<'a> = &'a mut dyn FnMut(&Sample) -> Result<(), String>;

/// See [`Dataset::scan`].
pub(super) fn scan(
    dataset: &Dataset,
    filter: Option<Filter<'_>>,
    select: Option<&SelectSpec>,
    seed: u64,
    limit: Option<u64>,
    visit: Visit<'_>,
) -> Result<Scan, Faults> {
    let default = SelectSpec::default();
    let select = select.unwrap_or(&default);
    let mut feed =
        Feed { sources: &dataset.sources, fields: &dataset.fields, next: 0, open: None, digests: Vec::new() };
    let mut tally = Tally::new(dataset, filter, select, visit);
    let mut pack = feed.pack();
    // While one batch is visited here, the next is read and parsed on the other threads.
    while let Some(current) = pack.take() {
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| pack = feed.pack());
            tally.take(current);
        });
    }
    let digest = match &*feed.digests {
        [one] => *one,
        several => several
            .iter()
            .fold(Hasher::default(), |mut all, one| {
                all.part(&one.0);
                all
            })
            .finish(),
    };
    tally.finish(digest, seed, limit)
}

/// Reads the files one after the other, in batches.
struct Feed<'a> {
    sources: &'a [Source],
    fields: &'a Fields,
    /// Index of the file to open next.
    next: usize,
    open: Option<Open>,
    digests: Vec<Digest>,
}

struct Open {
    rows: Rows<Digesting<Watched>>,
    has_rows: bool,
}

/// Some rows of one file, by line, and why no more of its rows follow.
struct Pack {
    source: usize,
    file: Arc<Path>,
    rows: Vec<(u64, Result<Draft, Fault>)>,
    stopped: Vec<Fault>,
}

impl Feed<'_> {
    /// The next batch; `None` after the last file.
    fn pack(&mut self) -> Option<Pack> {
        loop {
            let Some(open) = &mut self.open else {
                let source = self.sources.get(self.next)?;
                self.next += 1;
                let rows = source.open().map_err(|fault| vec![fault]);
                match rows.and_then(|file| Rows::new(Digesting::new(file), source)) {
                    Ok(rows) => self.open = Some(Open { rows, has_rows: false }),
                    Err(stopped) => return Some(self.packed(Vec::new(), stopped)),
                }
                continue;
            };
            let fields = self.fields;
            let (rows, more) = open
                .rows
                .batch(|decoder, raw, file| decoder.row(raw, file).map(|row| fields.draft(row, decoder.is_text())));
            open.has_rows |= !rows.is_empty();
            let stopped = match more {
                Ok(true) => Vec::new(),
                Ok(false) => {
                    let stopped = if open.has_rows { Vec::new() } else { vec![no_rows(&open.rows.file)] };
                    self.digests.push(open.rows.split.reader().digest());
                    self.open = None;
                    stopped
                }
                Err(fault) => {
                    self.open = None;
                    vec![fault]
                }
            };
            if !rows.is_empty() || !stopped.is_empty() {
                return Some(self.packed(rows, stopped));
            }
        }
    }

    fn packed(&self, rows: Vec<(u64, Result<Draft, Fault>)>, stopped: Vec<Fault>) -> Pack {
        let source = self.next - 1;
        Pack { source, file: Arc::clone(&self.sources[source].shown), rows, stopped }
    }
}

/// What is known of the rows so far.
struct Tally<'a> {
    dataset: &'a Dataset,
    filter: Option<Filter<'a>>,
    select: &'a SelectSpec,
    visit: Visit<'a>,
    log: Log,
    /// Rows without the named field for the id, or the cluster: told one by one only if some row has that field.
    without_id: Log,
    without_cluster: Log,
    /// Named fields that no row has had so far, with the key of the suite that names them.
    unseen: Vec<(&'static str, &'a str)>,
    names: Names,
    /// Digests of all ids, and where each stands.
    ids: HashMap<Digest, Spot>,
    kept: Bits,
    rows_kept: u64,
    rows_read: u64,
    rows_parsed: u64,
    rows_with_target: u64,
    /// Of each kept row, when some are to be drawn.
    strata: Vec<u32>,
    stratum_of: HashMap<Option<String>, u32>,
}

/// File and line in 64 bits: a million files, and 17 million million lines in each.
#[derive(Clone, Copy)]
struct Spot(u64);

impl Spot {
    const LINE_BITS: u32 = 44;

    fn new(source: usize, line: u64) -> Spot {
        Spot((source as u64) << Spot::LINE_BITS | line & ((1 << Spot::LINE_BITS) - 1))
    }

    fn place(self, sources: &[Source]) -> Place {
        let source = usize::try_from(self.0 >> Spot::LINE_BITS).ok().and_then(|source| sources.get(source));
        source.map_or_else(Place::default, |source| Place::line(&source.shown, self.0 & ((1 << Spot::LINE_BITS) - 1)))
    }
}

impl<'a> Tally<'a> {
    fn new(dataset: &'a Dataset, filter: Option<Filter<'a>>, select: &'a SelectSpec, visit: Visit<'a>) -> Tally<'a> {
        let stratify = select.stratify.iter().map(|name| ("dataset.select.stratify", &**name));
        Tally {
            dataset,
            filter,
            select,
            visit,
            log: Log::default(),
            without_id: Log::default(),
            without_cluster: Log::default(),
            unseen: dataset.fields.named().chain(stratify).collect(),
            names: Names::default(),
            ids: HashMap::new(),
            kept: Bits::default(),
            rows_kept: 0,
            rows_read: 0,
            rows_parsed: 0,
            rows_with_target: 0,
            strata: Vec::new(),
            stratum_of: HashMap::new(),
        }
    }

    fn take(&mut self, pack: Pack) {
        let mut last = 0;
        for (line, draft) in pack.rows {
            last = line;
            match draft {
                Ok(draft) => self.row(pack.source, &pack.file, line, draft),
                Err(fault) => self.log.add((pack.source, line), || fault),
            }
            self.rows_read += 1;
        }
        for fault in pack.stopped {
            self.log.add((pack.source, fault.place.line.unwrap_or(last)), || fault);
        }
    }

    fn row(&mut self, source: usize, file: &Path, line: u64, draft: Draft) {
        let at = (source, line);
        let row = &*draft.sample.row;
        self.rows_parsed += 1;
        self.names.add(row);
        self.unseen.retain(|(_, name)| field::get(row, name).is_none());
        if let Ok(digest) = draft.id {
            let spot = Spot::new(source, line);
            let first = *self.ids.entry(digest).or_insert(spot);
            if first.0 != spot.0 {
                self.log.add(at, || duplicate(&draft, first.place(&self.dataset.sources), Place::line(file, line)));
                return;
            }
        }
        match self.filter.map_or(Ok(true), |filter| filter(row)) {
            Ok(true) => {}
            Ok(false) => return,
            Err(message) => return self.log.add(at, || Fault::new(Place::line(file, line), message)),
        }
        let mut is_good = true;
        if let Err(fault) = &draft.id {
            is_good = false;
            let log = if matches!(fault, IdFault::Missing) { &mut self.without_id } else { &mut self.log };
            log.add(at, || self.dataset.fields.id_fault(fault, file, line, row));
        }
        if let Err(kind) = draft.cluster {
            is_good = false;
            let log = if kind.is_none() { &mut self.without_cluster } else { &mut self.log };
            log.add(at, || self.dataset.fields.cluster_fault(kind, file, line));
        }
        if self.select.sample.is_some() {
            match self.stratum(row) {
                Ok(stratum) => self.strata.push(stratum),
                Err(message) => return self.log.add(at, || Fault::new(Place::line(file, line), message)),
            }
        }
        self.kept.set(self.rows_read);
        self.rows_kept += 1;
        self.rows_with_target += u64::from(draft.sample.target.is_some());
        if is_good && let Err(message) = (self.visit)(&draft.sample) {
            self.log.add(at, || Fault::new(Place::line(file, line), message));
        }
    }

    /// The stratum of a row. Rows without the field, or with null in it, are a stratum of their own.
    fn stratum(&mut self, row: &Row) -> Result<u32, String> {
        let Some(name) = &self.select.stratify else { return Ok(0) };
        let text = match field::get(row, name) {
            None => None,
            Some(value) if value.is_null() => None,
            Some(value) => Some(field::text(value).ok_or_else(|| {
                let name = shorten(name, 100);
                format!("`{name}`, by which `dataset.select.stratify` parts the rows, is {}", jsonl::kind(value))
            })?),
        };
        let next = u32::try_from(self.stratum_of.len()).unwrap_or(u32::MAX);
        Ok(*self.stratum_of.entry(text).or_insert(next))
    }

    fn finish(mut self, digest: Digest, seed: u64, limit: Option<u64>) -> Result<Scan, Faults> {
        let mut absent = Log::default();
        if self.rows_parsed > 0 {
            let first = self.dataset.sources.first().map_or_else(Place::default, |source| Place::file(&source.shown));
            for (key, name) in &self.unseen {
                match *key {
                    "dataset.id" => self.without_id = Log::default(),
                    "dataset.cluster" => self.without_cluster = Log::default(),
                    _ => {}
                }
                absent.add((0, 0), || no_row_has(first.clone(), name, key, &self.names.list));
            }
        }
        let log = absent.merge(self.log).merge(self.without_id).merge(self.without_cluster);
        if !log.is_empty() {
            return Err(log.into_faults());
        }
        let mut used = self.kept;
        if let Some(wanted) = self.select.sample {
            let drawn = select::draw(self.select.seed.unwrap_or(seed), &self.strata, wanted);
            used = used.retain(|position| drawn[position]);
        }
        for limit in [self.select.limit, limit].into_iter().flatten() {
            used = used.retain(|position| (position as u64) < limit);
        }
        let selection = Selection::of(used, self.rows_read);
        if selection.is_empty() {
            let message = if self.rows_kept == 0 {
                format!("`dataset.select.where` is true for none of the {} rows", self.rows_read)
            } else if self.select.sample == Some(0) {
                "`dataset.select.sample` is 0, so that no row is used".to_owned()
            } else if self.select.limit == Some(0) {
                "`dataset.select.limit` is 0, so that no row is used".to_owned()
            } else {
                "the limit is 0, so that no row is used".to_owned()
            };
            let place = self.dataset.sources.first().map_or_else(Place::default, |source| Place::file(&source.shown));
            return Err(Fault::new(place, message).into());
        }
        Ok(Scan {
            samples: selection.len(),
            selection,
            rows_read: self.rows_read,
            rows_kept: self.rows_kept,
            rows_with_target: self.rows_with_target,
            digest,
            fields: self.names.list,
        })
    }
}

/// The fault of a row whose id an earlier one has.
fn duplicate(draft: &Draft, first: Place, place: Place) -> Fault {
    if draft.is_id_made {
        Fault::new(place, format!("the row asks the same as the one at {first}, and neither has an id"))
            .help("take one of them out, or give the rows ids")
    } else {
        let id = shorten(&draft.sample.id, 100);
        Fault::new(place, format!("the id `{id}` is taken by the row at {first}"))
            .help("answers are joined by id, so that it must be unique in all files of the dataset")
    }
}

/// The fault of a name that stands for nothing.
pub(super) fn no_row_has(place: Place, name: &str, key: &str, fields: &[String]) -> Fault {
    let message = format!("no row has the field `{}`, which `{key}` names", shorten(name, 100));
    let mut fault = Fault::new(place, message);
    fault.help = did_you_mean(name, fields.iter().map(String::as_str)).or_else(|| {
        let listed: Vec<String> = fields.iter().take(12).map(|field| format!("`{}`", shorten(field, 40))).collect();
        let more = if fields.len() > listed.len() { ", …" } else { "" };
        (!listed.is_empty()).then(|| format!("the fields are {}{more}", listed.join(", ")))
    });
    fault
}

/// The names of top-level fields, in the order in which they first occur.
#[derive(Default)]
pub(super) struct Names {
    pub list: Vec<String>,
    known: HashSet<String>,
}

impl Names {
    pub fn add(&mut self, row: &Row) {
        for (index, name) in row.keys().enumerate() {
            // Rows mostly have the same fields in the same order, so that one comparison is enough.
            let is_known = self.list.get(index).is_some_and(|known| known == name) || self.known.contains(name);
            if !is_known && self.list.len() < MAX_FIELDS {
                self.list.push(name.clone());
                self.known.insert(name.clone());
            }
        }
    }
}
