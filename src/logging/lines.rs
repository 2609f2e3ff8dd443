//! Lines on their way out. A thread of their own writes them: the reader of a pipe or a terminal may stop reading without
//! going away, and then a write waits for as long as that lasts.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// So many lines wait to be written at most. More are lost, and counted.
const WAITING: usize = 10_000;
/// How often it is looked whether all are written.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Takes lines, and never waits. Clones share the thread.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    sender: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    unwritten: AtomicUsize,
    lost: AtomicU64,
}

impl Lines {
    /// Begins to write to this. How many were lost is told when there is room again.
    pub(super) fn to(out: impl Write + Send + 'static, tell_lost: fn(u64)) -> io::Result<Lines> {
        let (sender, lines) = sync_channel(WAITING);
        let counts = Arc::<Counts>::default();
        let counted = Arc::clone(&counts);
        thread::Builder::new().name("log lines".into()).spawn(move || write_all(&lines, out, &counted, tell_lost))?;
        Ok(Lines { sender, counts })
    }

    /// Waits until all are written, but no longer than this.
    pub(super) fn flush(&self, within: Duration) {
        let until = Instant::now() + within;
        while self.counts.unwritten.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.counts.unwritten.fetch_add(1, Ordering::SeqCst);
        if self.sender.try_send(line.to_vec()).is_err() {
            self.counts.unwritten.fetch_sub(1, Ordering::SeqCst);
            self.counts.lost.fetch_add(1, Ordering::SeqCst);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(lines: &Receiver<Vec<u8>>, mut out: impl Write, counts: &Counts, tell_lost: fn(u64)) {
    for line in lines {
        // Nobody has to read them.
        let _ = out.write_all(&line);
        counts.unwritten.fetch_sub(1, Ordering::SeqCst);
        match counts.lost.swap(0, Ordering::SeqCst) {
            0 => {}
            lost => tell_lost(lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// Each write waits for a word of its reader, until there is no reader any more.
    struct Slow {
        word: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.word.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    static TOLD: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_told() {
        let ((reader, word), (written, lines_written)) = (channel(), channel());
        let tell = |lost| {
            TOLD.fetch_add(lost, Ordering::SeqCst);
        };
        let mut lines = Lines::to(Slow { word, written }, tell).unwrap();
        for number in 0..2 * WAITING {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        lines.flush(Duration::from_millis(10));
        assert_eq!(lines_written.try_iter().count(), 0);
        drop(reader);
        lines.flush(Duration::from_secs(60));
        let kept: Vec<Vec<u8>> = lines_written.try_iter().collect();
        assert!(kept.len() >= WAITING && kept.len() <= WAITING + 1 && kept[0] == b"0\n", "{}", kept.len());
        assert_eq!(kept.len() as u64 + TOLD.load(Ordering::SeqCst), 2 * WAITING as u64);
    }
}
