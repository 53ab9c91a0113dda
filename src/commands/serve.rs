//! `evalctl serve`: weights behind an OpenAI-compatible address.

#[cfg(feature = "local")]
pub use with_weights::serve;
#[cfg(not(feature = "local"))]
pub use without_weights::serve;

#[cfg(not(feature = "local"))]
mod without_weights {
    use crate::cli::ServeArgs;
    use crate::commands::World;
    use crate::commands::exit::CommandError;

    /// Carries out `evalctl serve`.
    ///
    /// # Errors
    /// Always: the program was built without what it takes.
    pub fn serve(_args: &ServeArgs, _world: &mut World<'_>) -> Result<u8, CommandError> {
        Err(CommandError::usage(
            "this evalctl was built without the feature `local`, which `serve` needs",
            "build it in: cargo build --release --features local",
        ))
    }
}

#[cfg(feature = "local")]
mod with_weights {
    use std::future::Future;
    use std::io::{self, Read};
    use std::net::{SocketAddr, ToSocketAddrs};
    use std::path::PathBuf;

    use serde_json::json;
    use tokio::net::TcpListener;
    use tokio::runtime;
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::oneshot;

    use crate::cli::ServeArgs;
    use crate::commands::exit::CommandError;
    use crate::commands::{World, print};
    use crate::local::{Access, Engine, Facts, GRACE, Lanes, LoadOptions, Loaded, Server};
    use crate::util::text::visible;

    /// Workers when none are asked for.
    const DEFAULT_PARALLEL: usize = 2;

    /// Carries out `evalctl serve`.
    ///
    /// # Errors
    /// When the weights cannot be loaded or the address cannot be listened to.
    pub fn serve(args: &ServeArgs, world: &mut World<'_>) -> Result<u8, CommandError> {
        let addresses = addresses(args)?;
        if !addresses.iter().all(|address| address.ip().is_loopback()) {
            let host = visible(&args.host);
            say(world, &format!("warning: `{host}` can be reached from outside, and nobody is asked for a key"));
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CommandError::Internal(format!("could not start the server's threads: {error}")))?;
        let ended = runtime.block_on(serve_until_told(args, &addresses, world));
        // Workers and a loader that are in the middle of something end with the process.
        runtime.shutdown_background();
        ended
    }

    async fn serve_until_told(
        args: &ServeArgs,
        addresses: &[SocketAddr],
        world: &mut World<'_>,
    ) -> Result<u8, CommandError> {
        let internal = |error: io::Error| CommandError::Internal(error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        // A Ctrl-C at a terminal reaches parent and child; of the two it is the parent that decides.
        let is_asked = !args.with_parent;
        let parent_gone = parent_gone(args.with_parent).map_err(internal)?;
        tokio::pin!(parent_gone);
        let engine = tokio::select! {
            engine = load(args) => engine?,
            _ = interrupt.recv(), if is_asked => return Ok(0),
            _ = terminate.recv() => return Ok(0),
            () = &mut parent_gone => return Ok(0),
        };
        let facts = engine.loaded().facts.clone();
        let lanes = lanes(args);
        let name = args.name.clone().unwrap_or_else(|| facts.name.clone());
        let listener = TcpListener::bind(addresses).await.map_err(|error| {
            let message = format!("could not listen at `{}:{}`: {error}", visible(&args.host), args.port);
            CommandError::usage(message, "name another port with `--port`, or any free one with `--port 0`")
        })?;
        let address = listener.local_addr().map_err(internal)?;
        let url = format!("http://{address}/v1");
        let hosts = args.allow_host.iter().chain([&args.host]).cloned().collect();
        let access = Access { hosts, origins: args.allow_origin.clone(), is_open: !address.ip().is_loopback() };
        let server = Server::start(engine, lanes, name.clone(), access).map_err(internal)?;
        announce(args, &url, &name, &facts, lanes, world)?;
        let (end, told) = oneshot::channel::<()>();
        let serving = server.serve(listener, async {
            // It is never sent: the other side is dropped.
            let _ = told.await;
        });
        tokio::pin!(serving);
        tokio::select! {
            () = &mut serving => return Ok(0),
            _ = interrupt.recv(), if is_asked => {}
            _ = terminate.recv() => {}
            () = &mut parent_gone => return Ok(0),
        }
        drop(end);
        say(world, &format!("stopping: what is in flight has {} s; once more (Ctrl-C) ends it", GRACE.as_secs()));
        tokio::select! {
            () = &mut serving => Ok(0),
            _ = interrupt.recv(), if is_asked => Ok(0),
            _ = terminate.recv() => Ok(0),
            () = &mut parent_gone => Ok(0),
        }
    }

    /// Opens the weights in a thread of their own, so that the program can be ended meanwhile.
    async fn load(args: &ServeArgs) -> Result<Engine, CommandError> {
        let path: PathBuf = args.weights.clone();
        let options = LoadOptions { context: args.context, cuda: cfg!(feature = "cuda") };
        let (done, loaded) = oneshot::channel();
        let open = move || {
            let opened = Loaded::open(&path, &options).map_err(|error| error.to_string());
            let engine = opened.and_then(|loaded| Engine::new(loaded).map_err(|error| error.to_string()));
            // Nobody waits when the program is about to end.
            let _ = done.send(engine);
        };
        let internal = |error: &str| CommandError::Internal(error.to_owned());
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(open)
            .map_err(|error| internal(&error.to_string()))?;
        match loaded.await {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(message)) => Err(CommandError::Usage { message, help: None }),
            Err(_) => Err(internal("the thread that loads the weights has failed")),
        }
    }

    fn addresses(args: &ServeArgs) -> Result<Vec<SocketAddr>, CommandError> {
        let host = args.host.trim_start_matches('[').trim_end_matches(']');
        let found = (host, args.port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        found.ok().filter(|addresses| !addresses.is_empty()).ok_or_else(|| {
            let message = format!("`{}` is no address of this machine", visible(&args.host));
            CommandError::usage(
                message,
                "`--host 127.0.0.1` is reached from this machine only, 0.0.0.0 from others too",
            )
        })
    }

    fn lanes(args: &ServeArgs) -> Lanes {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parallel = args.parallel.unwrap_or(DEFAULT_PARALLEL.min(cores));
        Lanes { parallel, queue: args.queue, threads: args.threads.unwrap_or(cores) }
    }

    fn announce(
        args: &ServeArgs,
        url: &str,
        name: &str,
        facts: &Facts,
        lanes: Lanes,
        world: &mut World<'_>,
    ) -> Result<(), CommandError> {
        let Lanes { parallel, queue, threads } = lanes;
        if args.announce {
            let line = json!({
                "ready": url, "model": name, "parallel": parallel, "queue": queue, "threads": threads, "facts": facts,
            });
            return print(world, format!("{line}\n").as_bytes()).map(drop);
        }
        let Facts { architecture, format, quantisation, context, device, .. } = facts;
        say(
            world,
            &format!(
                "{} ({architecture}, {format} {quantisation}, context {context}, {device}) at {url}: \
                 {parallel} at a time on {threads} threads, {queue} may wait; Ctrl-C ends it",
                visible(name)
            ),
        );
        Ok(())
    }

    /// Ends when standard input does: its other end is the parent's, and goes with it however it goes.
    fn parent_gone(is_watched: bool) -> io::Result<impl Future<Output = ()>> {
        let (gone, seen) = oneshot::channel::<()>();
        if is_watched {
            let watch = move || {
                let mut input = io::stdin().lock();
                let mut bytes = [0; 64];
                loop {
                    match input.read(&mut bytes) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => break,
                    }
                }
                drop(gone);
            };
            std::thread::Builder::new().name("parent".to_owned()).spawn(watch)?;
            return Ok(either(Some(seen)));
        }
        Ok(either(None))
    }

    async fn either(seen: Option<oneshot::Receiver<()>>) {
        match seen {
            // It is never sent: the other side is dropped.
            Some(seen) => drop(seen.await),
            None => std::future::pending().await,
        }
    }

    /// A line for people. That nobody can read it is no reason to stop.
    fn say(world: &mut World<'_>, text: &str) {
        let _ = writeln!(world.err, "{text}");
    }
}
