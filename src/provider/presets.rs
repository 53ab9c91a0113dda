//! The named services, as data: dialect, address, key, and what is different about them. A new one is a row here and a
//! name in `suite::spec`.

use crate::provider::{
    Anthropic, Bedrock, Cohere, Dialect, Gemini, Manner, Ollama, OpenAiChat, OpenAiResponses, SageMaker, Tgi,
};
use crate::suite::spec::{Api, MaxTokensField, ServiceSpec, Structured};

/// One service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// As suites name it.
    pub name: &'static str,
    /// As people name it.
    pub title: &'static str,
    /// The dialects it speaks; the first is the default.
    pub apis: &'static [Api],
    /// Where it is.
    pub base: Base,
    /// How it wants to know who asks.
    pub key: Key,
    /// Of chat completions, the field that bounds the answer.
    pub max_tokens_field: MaxTokensField,
    /// What `structured: auto` means before a probe has shown better.
    pub structured: Structured,
    /// What its rows here were checked against.
    pub evidence: Evidence,
}

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At one address.
    Fixed(&'static str),
    /// At an address of the account's own, such as this one: the suite must give it.
    Account(&'static str),
    /// At an address with `{region}` in it.
    Region(&'static str),
    /// At an address with `{region}` and `{project}` in it.
    Project(&'static str),
    /// On a server of one's own; this is where it listens by default.
    Own(&'static str),
}

/// How a service wants to know who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A bearer token, by default in this variable.
    Bearer(&'static str),
    /// A key in a header, by default in this variable.
    Header(&'static str, &'static str),
    /// Amazon's signature for a service of this name, with the usual variables; or the bearer token of a variable.
    Amazon(&'static str, Option<&'static str>),
    /// A bearer token if the suite names a variable, else none.
    Optional,
}

/// What a preset was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Recorded exchanges with the service itself.
    Recorded,
    /// The service's published description.
    Described,
    /// Nothing yet.
    Nothing,
}

const CHAT: &[Api] = &[Api::Chat];
const BOTH: &[Api] = &[Api::Chat, Api::Responses];

/// A service that speaks chat completions with `max_tokens`, a bearer token and schemas: most do.
const fn usual(name: &'static str, title: &'static str, base: Base, key: Key, evidence: Evidence) -> Preset {
    let max_tokens_field = MaxTokensField::MaxTokens;
    Preset { name, title, apis: CHAT, base, key, max_tokens_field, structured: Structured::JsonSchema, evidence }
}

use Base::{Account, Fixed, Own, Project, Region};
use Evidence::{Described, Nothing, Recorded};
use Key::{Amazon, Bearer, Header, Optional};

/// All of them, in the order of the suite's entries.
pub const PRESETS: &[Preset] = &[
    Preset {
        apis: BOTH,
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        ..usual("openai", "OpenAI", Fixed("https://api.openai.com/v1"), Bearer("OPENAI_API_KEY"), Recorded)
    },
    Preset {
        apis: BOTH,
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        ..usual(
            "azure",
            "Azure OpenAI",
            Account("https://NAME.openai.azure.com/openai/v1"),
            Header("api-key", "AZURE_OPENAI_API_KEY"),
            Recorded,
        )
    },
    usual(
        "azure_ml",
        "Azure ML endpoints",
        Account("https://NAME.REGION.inference.ml.azure.com/v1"),
        Bearer("AZURE_ML_API_KEY"),
        Nothing,
    ),
    Preset {
        apis: &[Api::Messages],
        ..usual(
            "anthropic",
            "Anthropic",
            Fixed("https://api.anthropic.com/v1"),
            Header("x-api-key", "ANTHROPIC_API_KEY"),
            Recorded,
        )
    },
    Preset {
        apis: &[Api::Gemini],
        ..usual(
            "gemini",
            "Gemini (AI Studio)",
            Fixed("https://generativelanguage.googleapis.com/v1beta"),
            Header("x-goog-api-key", "GEMINI_API_KEY"),
            Recorded,
        )
    },
    Preset {
        apis: &[Api::Gemini],
        ..usual(
            "vertex",
            "Vertex AI",
            Project(
                "https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google",
            ),
            Bearer("VERTEX_ACCESS_TOKEN"),
            Recorded,
        )
    },
    Preset {
        apis: &[Api::Converse],
        structured: Structured::Tool,
        ..usual(
            "bedrock",
            "Amazon Bedrock",
            Region("https://bedrock-runtime.{region}.amazonaws.com"),
            Amazon("bedrock", Some("AWS_BEARER_TOKEN_BEDROCK")),
            Recorded,
        )
    },
    Preset {
        apis: &[Api::Chat, Api::Generate],
        ..usual(
            "sagemaker",
            "Amazon SageMaker",
            Region("https://runtime.sagemaker.{region}.amazonaws.com"),
            Amazon("sagemaker", None),
            Described,
        )
    },
    usual("mistral", "Mistral", Fixed("https://api.mistral.ai/v1"), Bearer("MISTRAL_API_KEY"), Recorded),
    Preset {
        apis: BOTH,
        structured: Structured::JsonObject,
        ..usual("deepseek", "DeepSeek", Fixed("https://api.deepseek.com"), Bearer("DEEPSEEK_API_KEY"), Recorded)
    },
    usual("together", "Together", Fixed("https://api.together.xyz/v1"), Bearer("TOGETHER_API_KEY"), Recorded),
    usual(
        "fireworks",
        "Fireworks",
        Fixed("https://api.fireworks.ai/inference/v1"),
        Bearer("FIREWORKS_API_KEY"),
        Described,
    ),
    Preset {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        ..usual("groq", "Groq", Fixed("https://api.groq.com/openai/v1"), Bearer("GROQ_API_KEY"), Recorded)
    },
    usual(
        "replicate",
        "Replicate",
        Account("an address of Replicate's that speaks chat completions"),
        Bearer("REPLICATE_API_TOKEN"),
        Nothing,
    ),
    usual("modal", "Modal", Account("https://WORKSPACE--APP-serve.modal.run/v1"), Optional, Described),
    usual(
        "anyscale",
        "Anyscale",
        Account("https://SERVICE.anyscaleuserdata.com/v1"),
        Bearer("ANYSCALE_API_KEY"),
        Nothing,
    ),
    usual(
        "flexai",
        "FlexAI Token Factory",
        Account("the address that FlexAI's console shows, up to /v1"),
        Bearer("FLEXAI_API_KEY"),
        Nothing,
    ),
    usual(
        "infron",
        "Infron",
        Account("the address that Infron's console shows, up to /v1"),
        Bearer("INFRON_API_KEY"),
        Nothing,
    ),
    Preset {
        apis: BOTH,
        ..usual(
            "openrouter",
            "OpenRouter",
            Fixed("https://openrouter.ai/api/v1"),
            Bearer("OPENROUTER_API_KEY"),
            Recorded,
        )
    },
    usual(
        "vercel",
        "Vercel AI Gateway",
        Fixed("https://ai-gateway.vercel.sh/v1"),
        Bearer("AI_GATEWAY_API_KEY"),
        Described,
    ),
    usual(
        "huggingface",
        "Hugging Face router",
        Fixed("https://router.huggingface.co/v1"),
        Bearer("HF_TOKEN"),
        Recorded,
    ),
    usual("xai", "xAI", Fixed("https://api.x.ai/v1"), Bearer("XAI_API_KEY"), Described),
    Preset {
        structured: Structured::JsonObject,
        ..usual("moonshot", "Moonshot", Fixed("https://api.moonshot.ai/v1"), Bearer("MOONSHOT_API_KEY"), Described)
    },
    Preset {
        structured: Structured::JsonObject,
        ..usual("zai", "Z.ai", Fixed("https://api.z.ai/api/paas/v4"), Bearer("ZAI_API_KEY"), Recorded)
    },
    Preset {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        ..usual("cerebras", "Cerebras", Fixed("https://api.cerebras.ai/v1"), Bearer("CEREBRAS_API_KEY"), Recorded)
    },
    Preset {
        apis: &[Api::Cohere],
        ..usual("cohere", "Cohere", Fixed("https://api.cohere.com/v2"), Bearer("COHERE_API_KEY"), Recorded)
    },
    Preset { apis: BOTH, ..usual("litellm", "LiteLLM proxy", Own("http://127.0.0.1:4000/v1"), Optional, Described) },
    Preset { apis: BOTH, ..usual("vllm", "vLLM", Own("http://127.0.0.1:8000/v1"), Optional, Described) },
    usual("sglang", "SGLang", Own("http://127.0.0.1:30000/v1"), Optional, Described),
    Preset {
        apis: &[Api::Generate],
        ..usual("tgi", "Text Generation Inference", Own("http://127.0.0.1:8080"), Optional, Described)
    },
    usual("tensorrt_llm", "TensorRT-LLM", Own("http://127.0.0.1:8000/v1"), Optional, Described),
    usual("llama_cpp", "llama.cpp server", Own("http://127.0.0.1:8080/v1"), Optional, Described),
    Preset { apis: &[Api::Ollama], ..usual("ollama", "Ollama", Own("http://127.0.0.1:11434"), Optional, Described) },
    usual("lm_studio", "LM Studio", Own("http://127.0.0.1:1234/v1"), Optional, Described),
];

/// The service of a name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// What is missing or wrong in a suite's entry for a service: the field it is about, what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The field; the entry as a whole when there is none.
    pub field: Option<&'static str>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl Wrong {
    fn new(field: Option<&'static str>, what: String, help: String) -> Wrong {
        Wrong { field, what, help }
    }
}

impl Preset {
    /// The dialect that a suite's entry is asked in.
    ///
    /// # Errors
    /// When the service does not speak the one that the suite names.
    pub fn api(&self, spec: &ServiceSpec) -> Result<Api, Wrong> {
        let first = self.apis.first().copied().unwrap_or(Api::Chat);
        let Some(wanted) = spec.api else { return Ok(first) };
        // A server of one's own may speak anything OpenAI's does.
        let is_spoken = self.apis.contains(&wanted) || (matches!(self.base, Own(_)) && BOTH.contains(&wanted));
        if is_spoken {
            return Ok(wanted);
        }
        let names: Vec<String> = self.apis.iter().map(|api| format!("`{}`", name_of(*api))).collect();
        let what = format!("{} does not speak `{}`", self.title, name_of(wanted));
        Err(Wrong::new(Some("api"), what, format!("it speaks {}", names.join(" and "))))
    }

    /// Where the service is, for a suite's entry.
    ///
    /// # Errors
    /// When that depends on something the suite does not say, or says wrongly.
    pub fn base_url(&self, spec: &ServiceSpec) -> Result<String, Wrong> {
        let stray = |field, is_used: bool, value: &Option<String>| {
            let is_stray = value.is_some() && (!is_used || spec.base_url.is_some());
            let what = format!("`{field}` means nothing to {} here", self.title);
            if is_stray { Err(Wrong::new(Some(field), what, "take it out".to_owned())) } else { Ok(()) }
        };
        // The signature needs the region, whatever the address.
        let is_signed = matches!(self.key, Amazon(..));
        if !is_signed {
            stray("region", matches!(self.base, Region(_) | Project(_)), &spec.region)?;
        }
        stray("project", matches!(self.base, Project(_)), &spec.project)?;
        if let Some(url) = &spec.base_url {
            if is_signed {
                self.region(spec)?;
            }
            return Ok(url.clone());
        }
        match self.base {
            Fixed(url) | Own(url) => Ok(url.to_owned()),
            Account(example) => Err(Wrong::new(
                None,
                format!("the address of {} depends on the account, and `base_url` is not given", self.title),
                format!("add `base_url`, such as {example}"),
            )),
            Region(template) => {
                let region = self.region(spec)?;
                let url = template.replace("{region}", region);
                // China's regions are a partition of their own.
                Ok(if region.starts_with("cn-") { format!("{url}.cn") } else { url })
            }
            Project(template) => {
                let region = self.region(spec)?;
                let Some(project) = spec.project.as_deref().filter(|project| is_name(project)) else {
                    let what = format!("the address of {} depends on the project", self.title);
                    return Err(Wrong::new(None, what, "add `project`: its id".to_owned()));
                };
                let url = template.replace("{region}", region).replace("{project}", project);
                // The global location has no prefix.
                Ok(url.replace("//global-", "//"))
            }
        }
    }

    /// The region of a suite's entry.
    ///
    /// # Errors
    /// When there is none, or it is none.
    pub fn region<'a>(&self, spec: &'a ServiceSpec) -> Result<&'a str, Wrong> {
        let example = if matches!(self.key, Amazon(..)) { "us-east-1" } else { "europe-west4` or `global" };
        let Some(region) = spec.region.as_deref() else {
            let what = format!("{} needs a region", self.title);
            return Err(Wrong::new(None, what, format!("add `region`, such as `{example}`")));
        };
        let has_shape = match self.key {
            // `eu-central-1`, `us-gov-west-1`: parts with hyphens between them and a digit at the end.
            Amazon(..) => {
                is_name(region) && region.split('-').count() >= 3 && region.ends_with(|c: char| c.is_ascii_digit())
            }
            Bearer(_) | Header(..) | Optional => is_name(region),
        };
        if has_shape {
            return Ok(region);
        }
        let what = format!("this is no region of {}", self.title);
        Err(Wrong::new(Some("region"), what, format!("such as `{example}`")))
    }

    /// Whether the model is named in the request or its path, so that a suite has to say it.
    pub fn needs_model(&self, api: Api) -> bool {
        !(api == Api::Generate && self.name == "tgi") && self.name != "azure_ml"
    }

    /// The dialect of a suite's entry. `structured` is resolved: not `auto`.
    pub fn dialect(&self, api: Api, spec: &ServiceSpec, structured: Structured) -> Box<dyn Dialect> {
        let model = spec.model.clone().unwrap_or_default();
        let manner = Manner { model, is_streamed: spec.stream, structured };
        if self.name == "sagemaker" {
            // There the model is the endpoint, which stands in the path.
            let endpoint = manner.model.clone();
            let inner = self.speaking(api, spec, Manner { model: String::new(), ..manner });
            return Box::new(SageMaker { endpoint, inner });
        }
        self.speaking(api, spec, manner)
    }

    fn speaking(&self, api: Api, spec: &ServiceSpec, manner: Manner) -> Box<dyn Dialect> {
        let max_tokens_field = spec.max_tokens_field.unwrap_or(self.max_tokens_field);
        match api {
            Api::Chat => Box::new(OpenAiChat { manner, max_tokens_field }),
            Api::Responses => Box::new(OpenAiResponses(manner)),
            Api::Messages => Box::new(Anthropic(manner)),
            Api::Gemini => Box::new(Gemini(manner)),
            Api::Converse => Box::new(Bedrock(manner)),
            Api::Cohere => Box::new(Cohere(manner)),
            Api::Ollama => Box::new(Ollama(manner)),
            Api::Generate => Box::new(Tgi(manner)),
        }
    }
}

/// Whether a text may stand in an address as it is.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The name of a dialect, as suites write it.
pub fn name_of(api: Api) -> &'static str {
    match api {
        Api::Chat => "chat",
        Api::Responses => "responses",
        Api::Messages => "messages",
        Api::Gemini => "gemini",
        Api::Converse => "converse",
        Api::Cohere => "cohere",
        Api::Ollama => "ollama",
        Api::Generate => "generate",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Framing;
    use crate::suite::spec::CandidateSpec;

    fn spec() -> ServiceSpec {
        ServiceSpec { model: Some("m".to_owned()), stream: true, ..ServiceSpec::default() }
    }

    #[test]
    fn every_service_of_the_suite_has_a_row_and_the_other_way_round() {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        assert_eq!(names, CandidateSpec::SERVICES);
        for preset in PRESETS {
            assert_ne!(preset.structured, Structured::Auto, "{}", preset.name);
            let api = preset.api(&spec()).unwrap();
            assert_eq!(preset.dialect(api, &spec(), Structured::Off).manner().structured, Structured::Off);
        }
    }

    #[test]
    fn addresses_that_depend_on_the_account_are_asked_for() {
        let url = |name: &str, spec: &ServiceSpec| find(name).unwrap().base_url(spec);
        assert_eq!(url("openai", &spec()).unwrap(), "https://api.openai.com/v1");
        let own = ServiceSpec { base_url: Some("http://127.0.0.1:1/v1".to_owned()), ..spec() };
        assert_eq!(url("openai", &own).unwrap(), "http://127.0.0.1:1/v1");
        assert!(url("azure", &spec()).unwrap_err().what.contains("`base_url` is not given"));
        assert!(url("bedrock", &spec()).unwrap_err().what.contains("needs a region"));
        let region = |region: &str| ServiceSpec { region: Some(region.to_owned()), ..spec() };
        assert_eq!(
            url("bedrock", &region("eu-central-1")).unwrap(),
            "https://bedrock-runtime.eu-central-1.amazonaws.com"
        );
        for wrong in ["europe", "eu-central", "eu-central-1.evil.example/", "EU-central-1", ""] {
            assert_eq!(url("bedrock", &region(wrong)).unwrap_err().field, Some("region"), "{wrong}");
        }
        assert_eq!(url("openai", &region("eu-central-1")).unwrap_err().field, Some("region"));
        assert!(url("vertex", &region("europe-west4")).unwrap_err().help.contains("project"));
        let vertex = |place: &str| ServiceSpec { project: Some("p-1".to_owned()), ..region(place) };
        assert_eq!(
            url("vertex", &vertex("global")).unwrap(),
            "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/publishers/google"
        );
        assert!(url("vertex", &vertex("europe-west4")).unwrap().starts_with("https://europe-west4-aiplatform."));
    }

    #[test]
    fn a_dialect_the_service_does_not_speak_is_refused() {
        let asked = |name: &str, api| find(name).unwrap().api(&ServiceSpec { api: Some(api), ..spec() });
        assert_eq!(asked("openai", Api::Responses), Ok(Api::Responses));
        assert_eq!(asked("tgi", Api::Chat), Ok(Api::Chat));
        assert_eq!(asked("sagemaker", Api::Generate), Ok(Api::Generate));
        let wrong = asked("openai", Api::Converse).unwrap_err();
        assert_eq!(
            (wrong.what.as_str(), wrong.help.as_str()),
            ("OpenAI does not speak `converse`", "it speaks `chat` and `responses`")
        );
    }

    #[test]
    fn sagemaker_wraps_what_its_container_speaks() {
        let preset = find("sagemaker").unwrap();
        let dialect = preset.dialect(Api::Chat, &spec(), Structured::Off);
        assert_eq!(dialect.path(), "/endpoints/m/invocations-response-stream");
        assert_eq!(dialect.framing(), Framing::AmazonEvents);
        let whole = preset.dialect(Api::Generate, &ServiceSpec { stream: false, ..spec() }, Structured::Off);
        assert_eq!(whole.path(), "/endpoints/m/invocations");
    }
}
