//! What the tests share: contract suites, stores that fail, tree builder, records of calls.
//!
//! A contract is tested once and applied to every implementation, the broken ones included:
//!
//! ```text
//! lre_testkit::blob_store_contract! {
//!     memory => Verified(MemoryStore::default());
//!     disk => { let dir = tempfile::tempdir().unwrap(); Kept::new(DiskStore::open(dir.path()).unwrap(), dir) };
//! }
//! ```
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod contract;
mod faulty;
mod kept;
pub mod numbered;
mod recorded;
mod tree_builder;

pub use faulty::{Fault, Faulty};
pub use kept::Kept;
pub use recorded::{Call, Recorded};
pub use tree_builder::{BuiltTree, TreeBuilder};

/// Applies the contract of `BlobStore` to stores: `name => expression;` for each. The expression is
/// evaluated anew, in an async function, for every case; it must give an empty store that verifies
/// what is written to it, with everything that the store needs to live in it (see [`Kept`]). The crate that uses this
/// needs `tokio` with macros.
#[macro_export]
macro_rules! blob_store_contract {
    ($($name:ident => $store:expr;)*) => { $(
        mod $name {
            #[allow(unused_imports, reason = "some expressions name everything by path")]
            use super::*;
            $crate::contract_cases! { blobs $store;
                what_nobody_wrote_is_missing
                missing_blobs_are_named_once_and_in_order
                a_tree_is_held_with_all_that_it_names
                what_was_written_is_read_back
                wrong_bytes_are_refused_and_nothing_is_kept
                wrong_bytes_do_not_replace_the_right_ones
                the_empty_blob_is_always_present
                zero_size_with_another_hash_is_absent
                the_same_hash_with_another_size_is_absent
                digest_functions_are_not_mixed
                a_blob_may_be_written_twice
                a_blob_may_be_written_by_many_at_once
                a_foreign_file_may_change_afterwards
                an_owned_file_may_go_away_afterwards
                a_file_of_another_store_may_go_away_afterwards
                a_file_that_was_cut_after_it_was_opened_is_refused
                pieces_can_be_read
                many_blobs_are_held_at_once
                many_blobs_are_written_and_read_in_one_call
                one_wrong_blob_of_many_is_refused_alone
            }
        }
    )* };
}

/// Applies the contract of `ActionCache`; see [`blob_store_contract`]. The results that are put name
/// no blobs, so caches that check completeness take part too.
#[macro_export]
macro_rules! action_cache_contract {
    ($($name:ident => $store:expr;)*) => { $(
        mod $name {
            #[allow(unused_imports, reason = "some expressions name everything by path")]
            use super::*;
            $crate::contract_cases! { results $store;
                an_unknown_action_has_no_result
                a_result_is_read_back
                a_result_replaces_an_older_one
                results_of_two_functions_are_not_mixed
                an_action_of_another_size_is_another_action
                many_may_put_and_get_at_once
                a_large_result_is_read_back
            }
        }
    )* };
}

/// One test for each case.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_cases {
    ($suite:ident $store:expr; $($case:ident)*) => { $(
        #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::contract::$suite::$case(::std::sync::Arc::new($store)).await
        }
    )* };
}
