//! A connection that is made and dropped, so that a service which cannot be reached is known before anything is sent.
//!
//! It is a layer around the transport's own connector, because only that knows which proxy a request would take and which
//! certificates it would trust. It ends every connection as soon as it stands, before a request could use it.

use std::error::Error;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tower_layer::Layer;
use tower_service::Service;

/// What connectors fail with.
type BoxError = Box<dyn Error + Send + Sync>;

/// Turns a connector into one that connects and goes no further.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectOnly;

impl<C> Layer<C> for ConnectOnly {
    type Service = Connecting<C>;

    fn layer(&self, connector: C) -> Connecting<C> {
        Connecting(connector)
    }
}

/// A connector that fails with [`Reached`] when it has connected.
#[derive(Debug, Clone)]
pub(super) struct Connecting<C>(C);

impl<C, To> Service<To> for Connecting<C>
where
    C: Service<To, Error = BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: To) -> Self::Future {
        let connecting = self.0.call(to);
        async move {
            connecting.await?;
            Err(BoxError::from(Reached))
        }
        .boxed()
    }
}

/// The connection stood, and was dropped.
#[derive(Debug, thiserror::Error)]
#[error("connected")]
struct Reached;

/// Whether an error of the transport says that the connection stood.
pub(super) fn is_reached(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.any(|error| error.is::<Reached>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connects, or not.
    #[derive(Clone)]
    struct Connector(Result<(), &'static str>);

    impl Service<&'static str> for Connector {
        type Response = ();
        type Error = BoxError;
        type Future = BoxFuture<'static, Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: &'static str) -> Self::Future {
            let ended = self.0;
            async move { ended.map_err(BoxError::from) }.boxed()
        }
    }

    /// As transports wrap what their connectors say.
    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Outer(#[source] BoxError);

    #[tokio::test]
    async fn a_connection_is_dropped_and_a_failure_stays_what_it_is() {
        let good = ConnectOnly.layer(Connector(Ok(()))).call("there").await.unwrap_err();
        assert!(is_reached(&*good), "{good}");
        assert!(is_reached(&Outer(good)));
        let bad = ConnectOnly.layer(Connector(Err("refused"))).call("there").await.unwrap_err();
        assert!(!is_reached(&*bad));
        assert_eq!(bad.to_string(), "refused");
        assert!(!is_reached(&Outer(bad)));
    }
}
