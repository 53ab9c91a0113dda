//! What a candidate is asked for, and what its answers come to by that: their cost, and whether it was they who answered.

use rust_decimal::Decimal;

use crate::frame::same_model::is_same_model;
use crate::price::{self, NoCost};
use crate::types::{Echo, Finish, Price, Response, is_standard_tier};
use crate::util::secret;

/// What a candidate is asked for, which its answers are held against.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What its answers cost, or why that is not known.
    pub price: Result<Price, String>,
    /// The model that is asked for; `None` where that is no name that the service has given it.
    pub model: Option<String>,
    /// Whether the price comes from a list, which is for the standard service tier.
    pub is_list_price: bool,
}

impl Terms {
    /// What an answer cost, or why that is not known; `None` where only a machine is paid, by the hour.
    pub(super) fn cost(&self, response: &Response, is_timed: bool) -> Option<Result<Decimal, String>> {
        let price = match (response.cost_usd, &self.price) {
            (Some(cost), _) => return Some(Ok(cost)),
            (None, Err(reason)) => {
                // Where a gateway's own figure is not believed, the price that is missing would have been of use.
                let doubt = response.usage_doubt.iter().map(|doubt| format!("; {doubt}"));
                return Some(Err(format!("{reason}{}", doubt.collect::<String>())));
            }
            (None, Ok(price)) => price,
        };
        if price.per_hour_usd.is_some() && !is_timed {
            return Some(Err("a price by the hour needs measured or recorded times".to_owned()));
        }
        if let Some(tier) = response.service_tier.as_ref().filter(|tier| self.is_list_price && !is_standard_tier(tier))
        {
            return Some(Err(format!(
                "answers were served at the service tier `{tier}`, and the listed price is for the standard one: give \
                 the `price` of that tier"
            )));
        }
        match price::cost(price, &response.usage) {
            // What the machine costs is added when all times are known.
            Err(NoCost::NoPrice | NoCost::PerHour) if price.per_hour_usd.is_some() => None,
            Err(reason) => Some(Err(response.usage_doubt.clone().unwrap_or_else(|| reason.to_string()))),
            Ok(cost) => Some(Ok(cost)),
        }
    }

    /// What an answer says of who gave it.
    pub(super) fn echo(&self, response: &Response) -> Echo {
        let model = response.model_echo.clone().filter(|model| !model.trim().is_empty());
        Echo {
            is_asked_by_name: self.model.is_some(),
            // A name in which a key stood is not known any more.
            is_other: self
                .model
                .as_ref()
                .zip(model.as_ref().filter(|named| response.keys_replaced == 0 || !named.contains(secret::MARK)))
                .map(|(asked, named)| !is_same_model(asked, named)),
            model,
            fingerprint: response.system_fingerprint.clone(),
            tier: response.service_tier.clone(),
            stop_word: response.finish_raw.clone().filter(|_| response.finish == Some(Finish::Other)),
            doubt: response.usage_doubt.clone(),
            held_key: response.keys_replaced > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Usage;

    fn terms(is_list_price: bool) -> Terms {
        let price = Price { output_per_mtok_usd: Some(Decimal::TEN), ..Price::default() };
        Terms { price: Ok(price), model: Some("m".to_owned()), is_list_price }
    }

    fn answer() -> Response {
        let usage = Usage { input_tokens: Some(1), output_tokens: Some(100), ..Usage::default() };
        Response { text: "x".to_owned(), usage, ..Response::default() }
    }

    fn reason(terms: &Terms, response: &Response) -> String {
        terms.cost(response, true).unwrap().unwrap_err()
    }

    #[test]
    fn a_listed_price_is_for_the_standard_tier() {
        let at = |tier: &str| Response { service_tier: Some(tier.to_owned()), ..answer() };
        for tier in ["default", "standard", "ON_DEMAND"] {
            assert_eq!(terms(true).cost(&at(tier), true), Some(Ok(Decimal::new(1, 3))), "{tier}");
        }
        assert!(reason(&terms(true), &at("priority")).contains("`priority`"));
        // Whoever writes a price into the suite knows what it is for, and what a service says that it charges holds.
        assert_eq!(terms(false).cost(&at("flex"), true), Some(Ok(Decimal::new(1, 3))));
        let charged = Response { cost_usd: Some(Decimal::ONE), ..at("priority") };
        assert_eq!(terms(true).cost(&charged, true), Some(Ok(Decimal::ONE)));
    }

    #[test]
    fn the_reason_for_an_unknown_cost_is_what_contradicts_what() {
        let doubted = Response { usage: Usage::default(), usage_doubt: Some("0 tokens".to_owned()), ..answer() };
        assert_eq!(reason(&terms(true), &doubted), "0 tokens");
        let bare = Response { usage_doubt: None, ..doubted.clone() };
        assert_eq!(reason(&terms(true), &bare), "the service reported no output tokens");
        let unpriced = Terms { price: Err("no price given".to_owned()), ..terms(true) };
        assert_eq!(reason(&unpriced, &doubted), "no price given; 0 tokens");
    }

    #[test]
    fn who_answered_is_told_from_who_was_asked() {
        let of = |terms: &Terms, named: Option<&str>| {
            terms.echo(&Response { model_echo: named.map(str::to_owned), ..answer() }).is_other
        };
        assert_eq!(of(&terms(true), Some("gateway/m-2025-08-07")), Some(false));
        assert_eq!(of(&terms(true), Some("n")), Some(true));
        assert_eq!((of(&terms(true), None), of(&terms(true), Some(" "))), (None, None));
        assert_eq!(of(&Terms { model: None, ..terms(true) }, Some("n")), None);
        let changed = Response { model_echo: Some("[key]".to_owned()), keys_replaced: 1, ..answer() };
        let echo = terms(true).echo(&changed);
        assert_eq!((echo.is_other, echo.held_key), (None, true));
    }
}
