use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Cuts `0..len` into ranges of `step`, applies `work` to them across the machine's threads and
/// returns the results in range order, so that what comes out does not depend on how many threads
/// there were.
pub(crate) fn map_ranges<T: Send>(
    len: usize,
    step: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let step = step.max(1);
    let ranges = len.div_ceil(step);
    let range = |number: usize| number * step..((number + 1) * step).min(len);
    let threads = thread::available_parallelism().map_or(1, |count| count.get()).min(ranges);
    if threads <= 1 {
        return (0..ranges).map(|number| work(range(number))).collect();
    }
    let next = AtomicUsize::new(0);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= ranges {
                            return done;
                        }
                        done.push((number, work(range(number))));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            // A panic in a worker is a bug; it goes on here rather than being turned into a value.
            .flat_map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_back_in_order_and_cover_everything() {
        let ranges = map_ranges(1003, 10, |range| range);
        assert_eq!(ranges.len(), 101);
        assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (0..1003).collect::<Vec<_>>());
        assert!(map_ranges(0, 10, |range| range).is_empty());
    }
}
