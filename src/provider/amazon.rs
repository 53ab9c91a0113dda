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

    /// AWS's published test suite of signatures, case `post-vanilla`: the key, the instant and the result are its.
    #[test]
    fn a_published_vector() {
        let signer = Signer {
            region: "us-east-1".to_owned(),
            service: "service",
            access_key: Secret::new("AKIDEXAMPLE"),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        // 2015-08-30T12:36:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let headers = signer.headers("https://example.amazonaws.com/", &[], b"", now).unwrap();
        let authorization = headers.iter().find(|(name, _)| name == "authorization").unwrap();
        assert_eq!(
            authorization.1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let token = Signer { session_token: Some(Secret::new("token")), ..signer };
        let headers = token.headers("https://example.amazonaws.com/", &[], b"", now).unwrap();
        assert!(headers.iter().any(|(name, value)| name == "x-amz-security-token" && value == "token"));
    }
}
