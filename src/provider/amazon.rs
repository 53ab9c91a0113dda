//! Amazon's signature (SigV4) of a request. Pure but for the time, which is handed in.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;

use crate::util::secret::Secret;

/// Who signs, for which service.
#[derive(Debug, Clone)]
pub struct Signer {
    /// `us-east-1`
    pub region: String,
    /// The service's name in signatures: `bedrock`, `sagemaker`.
    pub service: &'static str,
    /// The id of the access key.
    pub access_key: Secret,
    /// The secret access key.
    pub secret_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

impl Signer {
    /// The headers that sign a request: a POST of `body` to `url` with these headers besides.
    ///
    /// # Errors
    /// When the address or a header cannot be signed, in words without any secret.
    pub fn headers(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        now: SystemTime,
    ) -> Result<Vec<(String, String)>, String> {
        let token = self.session_token.as_ref().map(|token| token.expose().to_owned());
        let identity =
            Credentials::new(self.access_key.expose(), self.secret_key.expose(), token, None, "evalctl").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(now)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| format!("the request could not be signed: {error}"))?
            .into();
        let request = SignableRequest::new("POST", url, headers.iter().copied(), SignableBody::Bytes(body))
            .map_err(|error| format!("the request could not be signed: {error}"))?;
        let (instructions, _) =
            sign(request, &params).map_err(|error| format!("the request could not be signed: {error}"))?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a token of temporary credentials looks like in AWS's published test suite of signatures.
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYR\
        qTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8T\
        x6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQ\
        wj2ICCR/oLxBA==";

    /// The cases of that suite that are POST requests: key, instant, headers and signatures are its. The signatures were
    /// worked out a second time from the description alone, and agree.
    #[test]
    fn published_vectors() {
        let signer = |token: Option<&str>| Signer {
            region: "us-east-1".to_owned(),
            service: "service",
            access_key: Secret::new("AKIDEXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
        };
        // 2015-08-30T12:36:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let form = "application/x-www-form-urlencoded";
        let form_with_charset = "application/x-www-form-urlencoded; charset=utf8";
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, Option<&'a str>, &'a str, &'a str);
        let cases: [Case<'_>; 7] = [
            ("", &[], "", None, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "?Param1=value1",
                &[],
                "",
                None,
                "host;x-amz-date",
                "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
            ),
            (
                "",
                &[("My-Header1", "VALUE1")],
                "",
                None,
                "host;my-header1;x-amz-date",
                "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
            ),
            (
                "",
                &[("My-Header1", "value1")],
                "",
                None,
                "host;my-header1;x-amz-date",
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "",
                &[("Content-Type", form)],
                "Param1=value1",
                None,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "",
                &[("Content-Type", form_with_charset)],
                "Param1=value1",
                None,
                "content-type;host;x-amz-date",
                "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe",
            ),
            (
                "",
                &[],
                "",
                Some(TOKEN),
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ];
        for (query, headers, body, token, names, signature) in cases {
            let url = format!("https://example.amazonaws.com/{query}");
            let signed = signer(token).headers(&url, headers, body.as_bytes(), now).unwrap();
            let value = |wanted: &str| signed.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders={names}, Signature={signature}"
            );
            assert_eq!(value("authorization"), Some(expected.as_str()), "{query} {headers:?}");
            assert_eq!(value("x-amz-security-token"), token);
        }
    }
}
