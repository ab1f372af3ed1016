//! What the seeds went through: a run in which nothing happened proves nothing.

use std::fmt;

macro_rules! counters {
    ($($name:ident,)*) => {
        /// Totals of one seed, or of many.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(
                #[doc = concat!("How many ", stringify!($name), " there were.")]
                pub $name: u64,
            )*
        }

        impl Counters {
            /// Adds those of another seed.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// Each with its name.
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    seeds, clients, publications, faults, delivered, links, cuts, half_open, one_way, delays,
    late_hellos, client_freezes, server_freezes, slow_readers, hints, reloads, goodbyes, clones,
    cleared_outboxes, unsubscribes, expired_tokens, revoked_grants, bursts, crashes, torn_writes,
    drains, older_disks, clock_jumps, full_disks, broken_syncs, store_faults, acked, handled,
    refused, unknown, recovered, gaps, takeovers, catchups_started, catchups_finished,
    upstream_duplicates, sessions_lost, silences, recreated,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds = self.seeds.max(1);
        for (name, count) in self.each() {
            writeln!(
                f,
                "{name:<22}{count:>12}{:>12.1} a seed",
                count as f64 / seeds as f64
            )?;
        }
        Ok(())
    }
}
