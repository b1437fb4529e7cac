//! A pool of the host that does less than it should, or more.
#![forbid(unsafe_code)]

use arbitrary::Arbitrary;
use evenkeel::Pool;

/// A pool that need not keep its promise. No result may change for it.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct HostPool {
    says: ThreadsSaid,
    order: Order,
}

/// How many threads a pool says that it has.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum ThreadsSaid {
    None,
    Few(u8),
    Many(usize),
    Most,
}

/// What a pool does with the parts of a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Order {
    Forwards,
    Backwards,
    /// Runs none.
    Nothing,
    /// Leaves out every part whose number this divides.
    Skips(u8),
    /// Runs every part so many times.
    Repeats(u8),
    /// Runs parts that there are not, and then the last one.
    Beyond(usize),
    /// Runs every part on a thread of its own, twice.
    Threads,
}

impl Pool for HostPool {
    fn threads(&self) -> usize {
        match self.says {
            ThreadsSaid::None => 0,
            ThreadsSaid::Few(threads) => usize::from(threads) % 9,
            ThreadsSaid::Many(threads) => threads,
            ThreadsSaid::Most => usize::MAX,
        }
    }

    fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        assert!((1..=64).contains(&parts) && parts <= self.threads().max(1), "{parts} parts");
        match self.order {
            Order::Forwards => (0..parts).for_each(part),
            Order::Backwards => (0..parts).rev().for_each(part),
            Order::Nothing => {}
            Order::Skips(every) => {
                let every = usize::from(every % 4) + 1;
                (0..parts).filter(|i| !i.is_multiple_of(every)).for_each(part);
            }
            Order::Repeats(times) => {
                for _ in 0..times % 4 {
                    (0..parts).for_each(part);
                }
            }
            Order::Beyond(after) => {
                [parts, parts.saturating_add(after), usize::MAX, parts - 1]
                    .into_iter()
                    .for_each(part);
            }
            Order::Threads => std::thread::scope(|scope| {
                for i in (0..parts).chain(0..parts) {
                    scope.spawn(move || part(i));
                }
            }),
        }
    }
}
