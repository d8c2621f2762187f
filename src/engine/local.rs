//! This machine's threads: scenes side by side while there are enough of them, then one after the other with all threads
//! inside each, so that a single new scene uses the machine too.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Calls `work` for each of `n` tasks with the number of threads it may use inside. At most `in_flight` run at once, which
/// bounds memory. `work` with more than one thread is called within `pool`.
///
/// # Errors
/// The error of the task that comes first in order; tasks not begun by then are left undone.
pub fn for_each(
    n: usize,
    in_flight: usize,
    pool: &rayon::ThreadPool,
    work: impl Fn(usize, usize) -> Result<()> + Sync,
) -> Result<()> {
    let threads = pool.current_num_threads();
    let side_by_side = in_flight.clamp(1, threads);
    let inner = (threads / side_by_side).max(1);
    let call = |task: usize, inner: usize| if inner > 1 { pool.install(|| work(task, inner)) } else { work(task, 1) };
    let outer = if side_by_side > 1 { n - n % side_by_side } else { 0 };
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    // A panic in a worker is carried over by the scope.
    std::thread::scope(|scope| {
        for _ in 0..side_by_side.min(outer) {
            scope.spawn(|| {
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= outer || failed.lock().map_or(true, |f| f.is_some()) {
                        return;
                    }
                    if let Err(e) = call(task, inner)
                        && let Ok(mut first) = failed.lock()
                        && first.as_ref().is_none_or(|(earlier, _)| task < *earlier)
                    {
                        *first = Some((task, e));
                    }
                }
            });
        }
    });
    if let Some((_, e)) = failed.into_inner().map_err(|_| Error::Internal("a worker panicked".into()))? {
        return Err(e);
    }
    (outer..n).try_for_each(|task| call(task, threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool")
    }

    #[test]
    fn every_task_runs_once_and_the_rest_gets_all_threads() {
        for (threads, in_flight, n) in [(1, 1, 5), (4, 4, 10), (4, 2, 7), (3, 9, 2)] {
            let seen = Mutex::new(vec![Vec::new(); n]);
            for_each(n, in_flight, &pool(threads), |task, inner| {
                seen.lock().expect("lock")[task].push(inner);
                Ok(())
            })
            .expect("all done");
            let seen = seen.into_inner().expect("lock");
            assert!(seen.iter().all(|s| s.len() == 1), "{seen:?}");
            if n % in_flight.min(threads) != 0 {
                assert_eq!(seen[n - 1], [threads]);
            }
        }
    }

    #[test]
    fn no_more_than_in_flight_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for_each(24, 3, &pool(8), |_, _| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .expect("all done");
        assert!((2..=3).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn the_first_error_in_order_stops_the_rest() {
        let result = for_each(
            100,
            4,
            &pool(4),
            |task, _| if task < 3 { Ok(()) } else { Err(Error::Internal(task.to_string())) },
        );
        match result {
            Err(Error::Internal(task)) => assert!(task.parse::<usize>().is_ok_and(|t| (3..8).contains(&t)), "{task}"),
            other => panic!("{other:?}"),
        }
    }
}
