//! Many signatures at once. They are arithmetic alone, so each core takes a part of them.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread;

/// The fewest signatures that are worth a thread: what one costs is that of about half a signature.
const PART_MIN: usize = 16;

/// The results of `work` on each item, in their order, worked out on as many threads as there are cores. Blocks.
pub(crate) fn in_parts<Item: Sync, Done: Send>(
    items: &[Item],
    work: impl Fn(&Item) -> Done + Sync,
) -> Vec<Done> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(items.len() / PART_MIN);
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let running: Vec<_> = items
            .chunks(items.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<Done>>()))
            .collect();
        running
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_its_order() {
        for count in [0, 1, PART_MIN, 2 * PART_MIN, 2 * PART_MIN + 1, 333] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(in_parts(&items, |item| item * 2), doubled);
        }
    }
}
