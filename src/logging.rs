//! Log lines to stderr, one for each event, as text or as JSON.
//!
//! Other crates' events are held at `warn` however verbose we are, and `RUST_LOG` can raise them to `info` at most:
//! below that some of them show headers and packets, and so credentials.

mod lines;

use crate::job::printable::is_unprintable;
use lines::Lines;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;
use tracing::{Dispatch, Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{ParseError, filter_fn};
use tracing_subscriber::fmt::{MakeWriter, Subscriber};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that says what is logged, in the words of `tracing_subscriber::EnvFilter`.
pub const FILTER_VARIABLE: &str = "RUST_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object on a line for each event.
    Json,
}

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` can't be understood.
    #[error("RUST_LOG in the environment is no filter, such as `strings_queue=debug,warn`; mend it or unset it: {0}")]
    Filter(ParseError),
    /// Something else in this process logs already.
    #[error("logging was begun a second time")]
    BegunTwice,
    /// There is no thread for the lines.
    #[error("the thread that writes log lines cannot be started: {0}")]
    Thread(io::Error),
}

/// How they look.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();
/// The lines on their way to stderr, once logging has begun.
static LINES: OnceLock<Lines> = OnceLock::new();
/// How long those that are left may take when the process ends, or when something breaks that may end it.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The root of our own events' targets.
const OURS: &str = "strings_queue";

/// Begins logging to stderr, panics too. `verbosity` is 0 for `info`, each step up or down one level more or less.
pub fn init(format: LogFormat, verbosity: i8) -> Result<(), LoggingError> {
    let filter = filter(verbosity, std::env::var(FILTER_VARIABLE).ok().as_deref())?;
    FORMAT.get_or_init(|| format);
    let colours = format == LogFormat::Text && io::stderr().is_terminal();
    let lines = Lines::to(io::stderr(), tell_lost).map_err(LoggingError::Thread)?;
    let lines = LINES.get_or_init(|| lines);
    let writer = move || OneLine { inner: lines.clone(), colours };
    dispatch(format, filter, writer, colours).try_init().map_err(|_| LoggingError::BegunTwice)?;
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Waits a moment until the lines so far are written.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// Says the last that is to be said on stderr, after all lines: as it is, or as errors where a machine reads them. A stderr
/// that takes nothing is not waited for long.
pub fn say_last(lines_of_text: &[String]) {
    if FORMAT.get() == Some(&LogFormat::Json) && tracing::enabled!(Level::ERROR) {
        for line in lines_of_text {
            tracing::error!("{line}");
        }
        return flush();
    }
    let text = lines_of_text.iter().flat_map(|line| ["strings-queue: ", line, "\n"]).collect::<String>();
    match LINES.get() {
        Some(lines) => drop(lines.clone().write_all(text.as_bytes())),
        // A stderr that can't be written to leaves nobody to tell.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
    flush();
}

fn tell_lost(lines: u64) {
    tracing::warn!(lines, "log lines were lost: whoever reads them was too slow");
}

/// A panic as a line like all others, so that whoever reads them by machine sees it.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    tracing::error!(location, thread, "a panic, which is a fault of this program: {}", text.unwrap_or("no message"));
    flush();
}

fn filter(verbosity: i8, variable: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let ours = match verbosity {
        ..=-2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let others = if verbosity <= -2 { "error" } else { "warn" };
    let default = format!("{others},strings_queue={ours}");
    let directives = variable.filter(|text| !text.trim().is_empty()).unwrap_or(&default);
    EnvFilter::builder().parse(directives).map_err(LoggingError::Filter)
}

fn dispatch<W>(format: LogFormat, filter: EnvFilter, writer: W, colours: bool) -> Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = Subscriber::builder().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    // It would tell of a line that can't be written on stderr, and panic since that can't be written to.
    let builder = builder.log_internal_errors(false);
    let held = filter_fn(may_speak);
    match format {
        LogFormat::Text => builder.compact().with_target(false).finish().with(held).into(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(held).into(),
    }
}

/// Whether the event is ours, or of another crate and no more detailed than `info`.
fn may_speak(event: &Metadata<'_>) -> bool {
    let ours = event.target().strip_prefix(OURS).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    ours || *event.level() <= Level::INFO
}

/// Writes each event as one line: control characters within it are escaped. The formatter hands over an event as a
/// whole, so what is escaped here can't be a line's end.
struct OneLine<W> {
    inner: W,
    /// Whether the formatter's own colours pass. It has escaped those of the values by then.
    colours: bool,
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let mut line = one_line(text.strip_suffix('\n').unwrap_or(&text), self.colours);
        line.push('\n');
        self.inner.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn one_line(text: &str, colours: bool) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        match character {
            '\u{1b}' if colours => line.push(character),
            '\n' | '\r' | '\t' => line.extend(character.escape_default()),
            _ if is_unprintable(character) => drop(write!(line, "\\u{{{:x}}}", u32::from(character))),
            _ => line.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, error, info, trace, warn};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, verbosity: i8, variable: Option<&str>, log: impl FnOnce()) -> String {
        let shared = Shared::default();
        let writer = {
            let shared = shared.clone();
            move || OneLine { inner: shared.clone(), colours: false }
        };
        let dispatch = dispatch(format, filter(verbosity, variable).unwrap(), writer, false);
        tracing::dispatcher::with_default(&dispatch, log);
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn every_level() {
        error!("an error");
        warn!("a warning");
        info!("a note");
        debug!("a detail");
        trace!("a trace");
    }

    fn of_other_crates() {
        debug!(target: "hyper::proto", "authorization: Basic aHVudGVyMg==");
        info!(target: "mysql_async::conn", "password hunter2");
        trace!(target: "reqwest::connect", "hunter2");
        warn!(target: "h2::codec", "a stranger's warning");
    }

    #[test]
    fn each_step_of_verbosity_is_a_level() {
        let lines: Vec<usize> =
            (-3..=4).map(|steps| logged(LogFormat::Text, steps, None, every_level).lines().count()).collect();
        assert_eq!(lines, [1, 1, 2, 3, 4, 5, 5, 5]);
    }

    #[test]
    fn other_crates_only_warn_at_every_verbosity() {
        for steps in -1..=4 {
            let text = logged(LogFormat::Json, steps, None, of_other_crates);
            assert!(text.lines().count() == 1 && text.contains("a stranger's warning"), "{steps}: {text}");
        }
    }

    #[test]
    fn rust_log_does_not_bring_other_crates_below_info() {
        for variable in ["trace", "hyper=trace,mysql_async=trace,reqwest=trace", "debug"] {
            let text = logged(LogFormat::Text, 0, Some(variable), of_other_crates);
            assert!(!text.contains("Basic") && !text.contains("TRACE") && !text.contains("DEBUG"), "{text}");
        }
        let pretender = logged(LogFormat::Text, 0, Some("trace"), || debug!(target: "strings_queue_x", "hunter2"));
        assert_eq!(pretender, "");
        assert_eq!(logged(LogFormat::Text, 0, Some("trace"), every_level).lines().count(), 5);
    }

    #[test]
    fn rust_log_wins_when_it_says_something() {
        assert_eq!(logged(LogFormat::Text, 0, Some("error"), every_level).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, 0, Some("mysql_async=info"), of_other_crates).lines().count(), 1);
        assert_eq!(logged(LogFormat::Text, 0, Some(" "), every_level).lines().count(), 3);
        let wrong = filter(0, Some("strings_queue=loud")).unwrap_err();
        assert!(wrong.to_string().starts_with("RUST_LOG in the environment"), "{wrong}");
    }

    #[test]
    fn no_text_breaks_the_line() {
        let hostile = "a\nb\r\tc\u{1b}[31m\u{0}\u{9b}\u{85}\u{202e}\u{2028}d";
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, 0, None, || info!(shown = %hostile, debugged = ?hostile, "called {hostile}"));
            assert_eq!(text.chars().filter(|character| is_unprintable(*character)).collect::<String>(), "\n", "{text}");
        }
        assert_eq!(one_line("\u{1b}[2ma\n", true), "\u{1b}[2ma\\n");
    }

    #[test]
    fn json_lines_are_objects_with_the_fields_at_the_top() {
        let text = logged(LogFormat::Json, 0, None, || info!(job_id = 7, host = "a\"b\n", "job succeeded"));
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["job_id"], &event["host"]), (&7.into(), &"a\"b\n".into()));
        assert_eq!((&event["message"], &event["level"]), (&"job succeeded".into(), &"INFO".into()));
    }

    #[test]
    fn text_lines_are_compact() {
        let text = logged(LogFormat::Text, 0, None, || info!(job_id = 7, "job succeeded"));
        assert!(text.ends_with("  INFO job succeeded job_id=7\n"), "{text}");
    }
}
