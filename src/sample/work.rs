//! The run: the catalogue first, then day by day, the files of a day on several threads.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use chrono::NaiveDate;

use super::catalogue;
use super::error::SampleError;
use super::files::{Raw, check_free, gzip, remove, write_whole};
use super::lines::draw_file;
use super::options::{Plan, SampleOptions};
use super::people::World;
use super::schedule::{Part, day_parts};
use super::summary::{SampleCounts, SampleDay, SampleSummary};
use super::tastes::Tastes;
use super::visitors::Visitors;

/// Tells how far a run has come; sent after each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleProgress {
    /// The day in progress.
    pub day: NaiveDate,
    /// Days finished before it.
    pub days_done: u32,
    /// Days in all.
    pub days: u32,
    /// Lines written so far.
    pub lines_done: u64,
    /// Lines in all.
    pub lines: u64,
}

/// Writes a sample and returns what it holds.
///
/// The same options give byte-identical files, whatever `threads` and `output` are. `progress` is called after each
/// file, from any of the threads; `cancelled` is asked before each file. A thread holds one file at a time: about
/// 25 MB besides what the visitors and items take (some 40 bytes for each visitor and a kilobyte for each item).
///
/// # Errors
///
/// Before anything is written: [`SampleError::OutOfRange`] for an option outside its limits and
/// [`SampleError::Occupied`] where a day's folder, `products.csv` or `users.json.gz` is there already.
/// Later: [`SampleError::Io`], [`SampleError::Thread`] and [`SampleError::Cancelled`]; the files of the day in
/// progress are then removed, with the catalogue where it is the first day, and finished days stay.
pub fn generate(
    options: &SampleOptions,
    progress: &(dyn Fn(SampleProgress) + Sync),
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<SampleSummary, SampleError> {
    let plan = Plan::new(options)?;
    let raw = Raw::under(&options.output);
    for path in [raw.products(), raw.users()] {
        check_free(&path)?;
    }
    for index in 0..plan.days {
        check_free(&raw.day(plan.day(index)))?;
    }
    let items = catalogue::draw(&plan);
    let tastes = Tastes::new(plan.seed, &items)?;
    let visitors = Visitors::draw(&plan)?;
    let world = World { seed: plan.seed, items, visitors, tastes };

    let run = Run {
        plan: &plan,
        raw: &raw,
        world: &world,
        threads: options.threads,
        progress,
        cancelled,
        in_progress: Mutex::default(),
        lines_done: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    };
    let days = run.write_all().inspect_err(|_| remove(&run.in_progress(), &options.output))?;
    let mut total = SampleCounts::default();
    days.iter().for_each(|day| total.add(&day.counts));
    Ok(SampleSummary {
        version: 1,
        first_day: plan.first_day,
        last_day: plan.last_day,
        users: plan.users,
        anonymous_visitors: world.visitors.anonymous(),
        items: plan.items,
        total,
        days,
    })
}

struct Run<'a> {
    plan: &'a Plan,
    raw: &'a Raw,
    world: &'a World,
    threads: usize,
    progress: &'a (dyn Fn(SampleProgress) + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Files that must go if the run fails now: the day's, and the catalogue until the first day is finished.
    in_progress: Mutex<Vec<PathBuf>>,
    lines_done: AtomicU64,
    /// Tells the other threads that one has failed.
    stopped: AtomicBool,
}

impl Run<'_> {
    fn write_all(&self) -> Result<Vec<SampleDay>, SampleError> {
        self.write_catalogue()?;
        let mut days = Vec::with_capacity(self.plan.days as usize);
        for index in 0..self.plan.days {
            let counts = self.write_day(&day_parts(self.plan, index))?;
            days.push(SampleDay { day: self.plan.day(index), counts });
            self.in_progress().clear();
        }
        Ok(days)
    }

    fn write_catalogue(&self) -> Result<(), SampleError> {
        self.write(self.raw.products(), &catalogue::to_csv(self.plan, &self.world.items))?;
        let path = self.raw.users();
        let users = gzip(&self.world.visitors.to_json_lines(self.plan))
            .map_err(|source| SampleError::Io { action: "compress", path: path.clone(), source })?;
        self.write(path, &users)
    }

    /// Writes a day's files, whichever thread is free taking the next.
    fn write_day(&self, parts: &[Part]) -> Result<SampleCounts, SampleError> {
        let next = AtomicUsize::new(0);
        let work = || {
            let counts = self.write_parts(parts, &next);
            if counts.is_err() {
                self.stopped.store(true, Ordering::Relaxed);
            }
            counts
        };
        thread::scope(|scope| {
            let mut others = Vec::new();
            let mut failed = None;
            for _ in 1..self.threads.min(parts.len()) {
                match thread::Builder::new().name("sample".to_owned()).spawn_scoped(scope, work) {
                    Ok(handle) => others.push(handle),
                    Err(source) => {
                        self.stopped.store(true, Ordering::Relaxed);
                        failed = Some(SampleError::Thread { source });
                        break;
                    }
                }
            }
            let mut total = SampleCounts::default();
            let mut note = |counts| match counts {
                Ok(counts) => total.add(&counts),
                Err(error) => failed = failed.take().or(Some(error)),
            };
            note(work());
            for handle in others {
                note(handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            failed.map_or(Ok(total), Err)
        })
    }

    fn write_parts(&self, parts: &[Part], next: &AtomicUsize) -> Result<SampleCounts, SampleError> {
        let mut total = SampleCounts::default();
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            if (self.cancelled)() {
                return Err(SampleError::Cancelled);
            }
            let path = self.raw.part(part);
            let (bytes, counts) = draw_file(self.world, parts, part).map_err(|source| {
                SampleError::Io { action: "compress", path: path.clone(), source }
            })?;
            self.write(path, &bytes)?;
            total.add(&counts);
            let before = self.lines_done.fetch_add(counts.lines, Ordering::Relaxed);
            (self.progress)(SampleProgress {
                day: part.day,
                days_done: part.day_index,
                days: self.plan.days,
                lines_done: before + counts.lines,
                lines: self.plan.events,
            });
        }
        Ok(total)
    }

    fn write(&self, path: PathBuf, bytes: &[u8]) -> Result<(), SampleError> {
        let written = write_whole(&path, bytes);
        // Noted on failure too, so that the folders made for it go.
        self.in_progress().push(path);
        written
    }

    fn in_progress(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.in_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
