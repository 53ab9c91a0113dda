//! The golden set, read once as a whole before anything is sent.

use std::sync::Arc;

use crate::commands::cases::{Ask, Cases, Keeps};
use crate::commands::plan::found::{Found, Prompts};
use crate::commands::plan::trial::Trial;
use crate::commands::plan::{Asking, Draft, Work};
use crate::dataset::{Dataset, Scan};
use crate::suite::{self, Filter, Prompt, Suite, at};
use crate::types::{Fault, Params, Place, Row, Sample};
use crate::util::{field, text};

/// How the golden set is read.
pub(super) struct Reading<'a> {
    /// Only so many samples.
    pub limit: Option<u64>,
    /// What of the samples is kept.
    pub keeps: Keeps,
    /// What targets are tried on; `None` when they are not.
    pub trial: Option<Trial<'a>>,
}

/// The golden set once it is read.
pub(super) struct Golden {
    pub dataset: Dataset,
    pub scan: Scan,
    pub cases: Cases,
    pub found: Found,
}

impl Work<'_> {
    /// Reads the golden set: checks every row, renders every prompt, keeps what scoring needs.
    pub(super) fn dataset(
        &mut self,
        suite: &Suite,
        asking: &Arc<Asking>,
        drafts: &[Draft],
        reading: Reading<'_>,
    ) -> Option<Golden> {
        let Reading { limit, keeps: kept, mut trial } = reading;
        // What could not be read of the suite has been said; a stand-in for it says nothing.
        let is_sure = |key| self.document.is_sure(&at!["dataset", key]);
        if suite.dataset.path.0.is_empty() || !["path", "select"].into_iter().all(is_sure) {
            return None;
        }
        let shown: Vec<String> = suite.dataset.path.0.clone();
        let files = shown.iter().map(|path| self.path(path)).collect();
        let dataset = match Dataset::open(files, shown, &suite.dataset) {
            Ok(dataset) => dataset,
            Err(faults) => {
                self.of_file(&at!["dataset", "path"], faults);
                return None;
            }
        };
        let select = suite.dataset.select.as_ref();
        let filter = match select.and_then(|select| select.filter.as_ref()).map(|filter| Filter::compile(filter)) {
            None => None,
            Some(Ok(filter)) => Some(filter),
            Some(Err(fault)) => {
                self.faults.push(fault.at(self.document, &at!["dataset", "select", "where"]));
                return None;
            }
        };
        let named = |fault: suite::TemplateFault| format!("`dataset.select.where`: {fault}");
        let keeps = filter.as_ref().map(|filter| move |row: &Row| filter.keeps(row).map_err(named));
        let asks: Vec<Ask> = drafts.iter().map(|draft| draft.ask.clone()).collect();
        let mut cases = Cases::new(asks, kept);
        let is_drawn = select.is_some_and(|select| select.sample.is_some());
        let services: Vec<(&Draft, Arc<Params>)> = drafts
            .iter()
            .filter(|draft| draft.dialect.as_ref().is_some_and(|dialect| dialect.may_lose()))
            .map(|draft| (draft, Arc::new(draft.spec.params.clone())))
            .collect();
        let limits = [select.and_then(|select| select.limit), limit];
        let used =
            limits.into_iter().flatten().min().map_or(usize::MAX, |least| usize::try_from(least).unwrap_or(usize::MAX));
        let mut prompts = Prompts::default();
        let mut add = |sample: &Sample, cases: Option<&mut Cases>| -> Result<(), String> {
            let asked = asking.ask(&sample.row)?;
            if let Some(cases) = cases {
                cases.push(sample, || asking.digest(&asked));
                if cases.len() <= used {
                    prompts.add(sample, &asked, asking);
                    if let Some(trial) = &mut trial {
                        trial.add(sample);
                    }
                    drafts.iter().filter_map(|draft| draft.join.as_ref()).for_each(|join| join.note(sample));
                }
                for (draft, params) in &services {
                    draft.note_losses(asking, &asked, &sample.row, params);
                }
            }
            Ok(())
        };
        let scan = dataset.scan(
            keeps.as_ref().map(|keeps| keeps as &dyn Fn(&Row) -> Result<bool, String>),
            select,
            suite.seed,
            limit,
            // Of a random draw only the drawn rows are kept, in a pass of their own.
            &mut |sample| add(sample, (!is_drawn).then_some(&mut cases)),
        );
        let scan = match scan {
            Ok(scan) => scan,
            Err(faults) => {
                // A name that no row has is one fault of the suite, not one of every row.
                let fields = dataset.scan(None, None, suite.seed, None, &mut |_| Ok(())).map(|scan| scan.fields);
                let unknown = fields.map(|fields| self.unknown_names(asking, filter.as_ref(), drafts, &fields));
                let said = unknown.unwrap_or_default();
                let follows =
                    |fault: &Fault| said.iter().any(|name| fault.message.contains(&format!("variable `{name}`")));
                let mut others: Vec<Fault> = faults.0.into_iter().filter(|fault| !follows(fault)).collect();
                if !said.is_empty() && others.iter().all(|fault| fault.place == Place::default()) {
                    // What is left only counts the same fault in more rows.
                    others.clear();
                }
                self.faults.0.extend(others);
                return None;
            }
        };
        if is_drawn {
            for sample in dataset.samples(&scan.selection) {
                match sample {
                    Ok(sample) => add(&sample, Some(&mut cases)).ok()?,
                    Err(fault) => {
                        self.faults.push(fault);
                        return None;
                    }
                }
            }
        }
        cases.truncate(usize::try_from(scan.samples).ok()?);
        self.unknown_names(asking, filter.as_ref(), drafts, &scan.fields);
        let found = self.weigh(suite, (asking, drafts), (trial, prompts), &scan.fields);
        Some(Golden { dataset, scan, cases, found })
    }

    /// Says which variables of templates and expressions no row has; gives their names.
    fn unknown_names(
        &mut self,
        asking: &Asking,
        filter: Option<&Filter>,
        drafts: &[Draft],
        fields: &[String],
    ) -> Vec<String> {
        let mut unknown = Vec::new();
        let known = || fields.iter().map(String::as_str);
        let is_known = |name: &str| name == "row" || fields.iter().any(|field| field == name);
        let advice = |name: &str| {
            text::did_you_mean(name, known()).or_else(|| {
                let some: Vec<&str> = known().take(20).collect();
                Some(format!("the rows have: {}", some.join(", ")))
            })
        };
        for (part, variable) in asking.prompt.iter().flat_map(Prompt::variables) {
            if !is_known(&variable.name) {
                let message = format!("unknown variable `{}`: no row has such a field", variable.name);
                let path = at!["prompt", part.key()];
                let mut fault = self.document.text_fault(&path, variable.line, Some(&variable.name), message);
                fault.help = advice(&variable.name);
                self.faults.push(fault);
                unknown.push(variable.name.clone());
            }
        }
        for draft in drafts {
            for (key, variable) in &draft.names {
                if !is_known(&variable.name) {
                    let message = format!("unknown variable `{}`: no row has such a field", variable.name);
                    let path = at!["candidates", draft.position, "scripted", *key];
                    let mut fault = self.document.text_fault(&path, variable.line, Some(&variable.name), message);
                    fault.help = advice(&variable.name);
                    self.faults.push(fault);
                }
            }
        }
        for suite::Variable { name, .. } in filter.iter().flat_map(|filter| filter.variables()) {
            if !is_known(name) {
                let message = format!("unknown variable `{name}`: no row has such a field");
                let help = advice(name);
                self.fault_help(&at!["dataset", "select", "where"], message, help);
                unknown.push(name.clone());
            }
        }
        unknown
    }
}

/// The text of a join field of a row, as recorded answers are looked up by it.
pub fn join_text(row: &Row, on: &str) -> Option<String> {
    field::get(row, on).and_then(field::text)
}
