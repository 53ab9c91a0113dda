//! A suite's entry for a service to a candidate over HTTP: its dialect, address, headers and proof of who asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::commands::plan::Work;
use crate::provider::presets::{self, Key, Preset, Wrong};
use crate::provider::{Auth, Dialect, Http, HttpProvider, Signer, is_loopback};
use crate::suite::spec::{Api, CandidateSpec, MaxTokensField, ServiceSpec, Structured};
use crate::suite::{self, Step, at};
use crate::types::{self, Ability, Probe, Shown};
use crate::util::digest::Digest;
use crate::util::secret::Secret;

/// A service of the plan.
pub struct Service {
    /// What answers, in words.
    pub words: String,
    /// All that decides its answers beside the sample, the parameters and the headers.
    pub decides: serde_json::Value,
    /// How it is asked.
    pub dialect: Arc<dyn Dialect>,
    /// Where it is asked, when it is to be.
    pub live: Option<Endpoint>,
    /// What a probe found of it.
    pub probe: Option<Probe>,
}

/// A service as a candidate reaches it, to be asked in whatever way.
pub struct Endpoint {
    preset: &'static Preset,
    api: Api,
    spec: ServiceSpec,
    base_url: String,
    headers: BTreeMap<String, String>,
    auth: Auth,
    name: types::Endpoint,
    /// Connections of its own: what one candidate's server does to them is no other's concern.
    http: Http,
}

impl Endpoint {
    /// The dialect.
    pub fn api(&self) -> Api {
        self.api
    }

    /// Which it is, for what a probe finds.
    pub fn name(&self) -> types::Endpoint {
        self.name.clone()
    }

    /// How the service says that it can be asked for a schema.
    pub fn described(&self) -> Structured {
        self.preset.structured
    }

    /// The dialect, in a manner of its own.
    pub fn dialect(&self, structured: Structured, max_tokens_field: Option<MaxTokensField>) -> Box<dyn Dialect> {
        let max_tokens_field = max_tokens_field.or(self.spec.max_tokens_field);
        self.preset.dialect(self.api, &ServiceSpec { max_tokens_field, ..self.spec.clone() }, structured)
    }

    /// What answers in a dialect.
    ///
    /// # Errors
    /// When the address, a header or the key cannot be used.
    pub fn provider(&self, dialect: Box<dyn Dialect>) -> Result<HttpProvider, String> {
        HttpProvider::new(&self.http, dialect, &self.base_url, &self.headers, self.auth.clone())
    }
}

fn endpoint(preset: &Preset, api: Api, service: &ServiceSpec, base_url: &str, spec: &CandidateSpec) -> types::Endpoint {
    let written = serde_json::to_vec(&(&spec.params, &spec.headers)).expect("suite values have only string keys");
    types::Endpoint {
        asked_with: Digest::of(&written),
        service: preset.name.to_owned(),
        model: service.model.clone().unwrap_or_default(),
        address: base_url.to_owned(),
        api: presets::name_of(api).to_owned(),
    }
}

/// How a schema is asked for where the suite leaves it open, and whether a probe saw that to hold: the strictest way
/// that was seen to, else what the service describes, else whatever was not seen to fail.
pub fn structured_by(probe: Option<&Probe>, preset: Structured) -> (Structured, bool) {
    let ways = [
        (Ability::JsonSchema, Structured::JsonSchema),
        (Ability::SchemaAsTool, Structured::Tool),
        (Ability::SchemaInWords, Structured::Prompt),
        // The schema itself is not told by it.
        (Ability::JsonObject, Structured::JsonObject),
    ];
    let does = |ability| probe.and_then(|probe| probe.does(ability));
    if let Some((_, held)) = ways.into_iter().find(|(ability, _)| does(*ability) == Some(true)) {
        return (held, true);
    }
    let may_hold = |(ability, _): &(Ability, Structured)| does(*ability) != Some(false);
    let described = ways.into_iter().find(|(_, way)| *way == preset).filter(may_hold);
    let left = described.or_else(|| ways.into_iter().find(may_hold));
    // Words can always be said.
    (left.map_or(Structured::Prompt, |(_, way)| way), false)
}

/// The field that bounds answers, where the suite leaves it open and a probe has seen one to do so.
fn max_tokens_field_by(probe: Option<&Probe>) -> Option<MaxTokensField> {
    let finding = probe?.finding(Ability::MaxTokens).filter(|finding| finding.shown == Shown::Yes)?;
    match finding.detail.as_str() {
        "max_completion_tokens" => Some(MaxTokensField::MaxCompletionTokens),
        "max_tokens" => Some(MaxTokensField::MaxTokens),
        _ => None,
    }
}

impl Work<'_> {
    /// Makes a service ready, live if it is to be asked; `None` when a fault was found.
    pub(super) fn service(
        &mut self,
        name: &'static str,
        service: &ServiceSpec,
        spec: &CandidateSpec,
        position: usize,
        is_live: bool,
    ) -> Option<Service> {
        let path = at!["candidates", position, name];
        let preset = presets::find(name).expect("a test holds presets and names together");
        let told = preset.api(service).and_then(|api| Ok((api, preset.base_url(service)?)));
        let (api, base_url) = match told {
            Ok(told) => told,
            Err(Wrong { field, what, help }) => {
                let place =
                    field.map_or_else(|| path.to_vec(), |field| at!["candidates", position, name, field].to_vec());
                self.fault_help(&place, what, Some(help));
                return None;
            }
        };
        if service.model.is_none() && preset.needs_model(api) {
            let help = if name == "sagemaker" { "add `model`: the name of the endpoint" } else { "add `model`" };
            self.fault_help(
                &path,
                format!("missing field `model`: {} wants to know it", preset.title),
                Some(help.into()),
            );
            return None;
        }
        let name_of = endpoint(preset, api, service, &base_url, spec);
        let probe = self.probes.iter().find(|probe| probe.endpoint == name_of).cloned();
        let structured = match spec.structured {
            Structured::Auto => structured_by(probe.as_ref(), preset.structured).0,
            said => said,
        };
        let max_tokens_field = service.max_tokens_field.or_else(|| max_tokens_field_by(probe.as_ref()));
        let service = &ServiceSpec { max_tokens_field, ..service.clone() };
        let shown = service.model.as_deref().unwrap_or(&base_url);
        let words = if api == preset.apis[0] || name == "sagemaker" {
            format!("{name} {shown}")
        } else {
            format!("{name} {shown} ({})", presets::name_of(api))
        };
        let decides = decides(service, api, &base_url, structured);
        let dialect = Arc::from(preset.dialect(api, service, structured));
        let live = if is_live { Some(self.live(preset, api, base_url, service, spec, position)?) } else { None };
        Some(Service { words, decides, dialect, live, probe })
    }

    fn live(
        &mut self,
        preset: &'static Preset,
        api: Api,
        base_url: String,
        service: &ServiceSpec,
        spec: &CandidateSpec,
        position: usize,
    ) -> Option<Endpoint> {
        let name = endpoint(preset, api, service, &base_url, spec);
        let auth = self.auth(preset, &base_url, service, spec, position);
        let headers = self.headers(spec, position);
        let (headers, auth, http) = (headers?, auth?, Http::default());
        let endpoint = Endpoint { preset, api, spec: service.clone(), base_url, headers, auth, name, http };
        // Whether address, headers and key can be used at all.
        match endpoint.provider(endpoint.dialect(Structured::Off, None)) {
            Ok(_) => Some(endpoint),
            Err(message) => {
                self.fault(&at!["candidates", position, preset.name, "base_url"], message);
                None
            }
        }
    }

    /// The headers of the suite with their variables' values.
    fn headers(&mut self, spec: &CandidateSpec, position: usize) -> Option<BTreeMap<String, String>> {
        let mut headers = BTreeMap::new();
        let mut is_whole = true;
        for (name, written) in &spec.headers {
            match expand(written, self.environment) {
                Ok((value, used)) => {
                    let keys = |(variable, used): (&str, String)| suite::keys_of_header(name, &value, variable, &used);
                    self.secrets.extend(used.into_iter().flat_map(keys));
                    headers.insert(name.clone(), value);
                }
                Err(variable) => {
                    is_whole = false;
                    if !suite::names_variable(&variable) {
                        self.fault(&at!["candidates", position, "headers"], "`${…}` holds no name of a variable");
                        continue;
                    }
                    let path = at!["candidates", position, "headers", name.as_str()];
                    self.fault(&path, format!("the variable `{variable}` is not set"));
                }
            }
        }
        is_whole.then_some(headers)
    }

    fn auth(
        &mut self,
        preset: &Preset,
        base_url: &str,
        service: &ServiceSpec,
        spec: &CandidateSpec,
        position: usize,
    ) -> Option<Auth> {
        let path = at!["candidates", position, preset.name];
        let own = service.api_key_env.as_deref();
        // What is no name of a variable has been said, and may be a key.
        if own.is_some_and(|variable| !suite::names_variable(variable)) {
            return None;
        }
        // A server on this machine needs no key, and must not be shown one that it was not meant to see.
        let usual = |variable: &'static str| own.or((!is_loopback(base_url)).then_some(variable));
        let (variable, header) = match preset.key {
            Key::Bearer(variable) => (usual(variable), None),
            Key::Header(header, variable) => (usual(variable), Some(header)),
            Key::Optional => (own, None),
            Key::Amazon(name, bearer) => match own.or(bearer.filter(|variable| self.variable(variable).is_some())) {
                Some(variable) => (Some(variable), None),
                None if is_loopback(base_url) && self.variable("AWS_ACCESS_KEY_ID").is_none() => (None, None),
                None => return self.signer(preset, name, service, spec, &path).map(Auth::Amazon),
            },
        };
        let Some(variable) = variable else { return Some(Auth::None) };
        if own.is_none() && base_url.trim_start().to_ascii_lowercase().starts_with("http://") && !is_loopback(base_url)
        {
            let message =
                format!("the key in `{variable}` would go over an open line: `base_url` begins with `http://`");
            let help = format!("use `https://`, or write `api_key_env: {variable}` if that line may see it");
            self.fault_help(&path, message, Some(help));
            return None;
        }
        let Some(key) = self.variable(variable) else {
            let message = format!("candidate `{}` needs a key, and the variable `{variable}` is not set", spec.id);
            let help = format!("set it: export {variable}=…; or name another variable with `api_key_env`");
            self.fault_help(&path, message, Some(help));
            return None;
        };
        let key = Secret::new(key);
        self.secrets.push(key.clone());
        Some(header.map_or_else(|| Auth::Bearer(key.clone()), |header| Auth::Header(header, key.clone())))
    }

    /// A variable's value without blanks around it; `None` when it is not set, or empty.
    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn signer(
        &mut self,
        preset: &Preset,
        service_name: &'static str,
        service: &ServiceSpec,
        spec: &CandidateSpec,
        path: &[Step<'_>],
    ) -> Option<Signer> {
        let region = preset.region(service).ok()?.to_owned();
        let mut needed = |name: &str| {
            let value = self.variable(name).map(Secret::new);
            if value.is_none() {
                let message =
                    format!("candidate `{}` needs credentials, and the variable `{name}` is not set", spec.id);
                let help = "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN: \
                            `eval \"$(aws configure export-credentials --format env)\"` does";
                self.fault_help(path, message, Some(help.to_owned()));
            }
            value
        };
        let access_key = needed("AWS_ACCESS_KEY_ID");
        let (access_key, secret_key) = (access_key?, needed("AWS_SECRET_ACCESS_KEY")?);
        let session_token = self.variable("AWS_SESSION_TOKEN").map(Secret::new);
        self.secrets.extend([access_key.clone(), secret_key.clone()]);
        self.secrets.extend(session_token.clone());
        Some(Signer { region, service: service_name, access_key, secret_key, session_token })
    }
}

fn decides(service: &ServiceSpec, api: Api, base_url: &str, structured: Structured) -> serde_json::Value {
    json!([service.model, base_url, service.stream, api, service.max_tokens_field, structured])
}

/// A variable, with its value.
type Used<'a> = (&'a str, String);

/// Replaces `${NAME}` by the variable's value; gives the variables used with their values, or the first that is not set.
fn expand<'a>(
    written: &'a str,
    environment: crate::commands::plan::Environment<'_>,
) -> Result<(String, Vec<Used<'a>>), String> {
    let (mut out, mut used, mut rest) = (String::new(), Vec::new(), written);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else { break };
        let value = environment(name).filter(|value| !value.is_empty()).ok_or_else(|| name.to_owned())?;
        out.push_str(before);
        out.push_str(&value);
        used.push((name, value));
        rest = tail;
    }
    out.push_str(rest);
    Ok((out, used))
}
