//! Reads: where a page begins, what bounds it, and what it says of the channel.

use super::{Check, case, ensure, ensure_eq};
use crate::{
    config::EngineConfig,
    conformance::{
        Case, Subject,
        driver::{Driver, publish},
    },
    contract::Page,
};

pub(super) const CASES: &[Case] = &[
    case!(a_page_begins_after_the_offset),
    case!(a_page_is_bounded_by_count),
    case!(a_page_is_bounded_by_bytes),
    case!(a_page_has_at_least_one_publication),
    case!(a_page_at_or_beyond_the_head_is_empty),
    case!(an_append_that_was_answered_is_read_at_once),
];

fn offsets(page: &Page) -> Vec<u64> {
    page.publications
        .iter()
        .map(|publication| publication.offset)
        .collect()
}

fn page(driver: &Driver<'_>, after: u64, count: usize, bytes: usize) -> Result<Page, String> {
    driver
        .page("a", after, count, bytes)?
        .ok_or_else(|| "the channel has no page".to_owned())
}

fn a_page_begins_after_the_offset(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    driver.publish_numbers("a", 10)?;
    let found = page(&driver, 6, 100, 10_000)?;
    ensure_eq!(offsets(&found), [7, 8, 9, 10], "the offsets");
    let record = driver.record("a")?;
    let seen = (found.epoch, found.floor, found.head);
    ensure_eq!(seen, (record.epoch, 1, 10), "epoch, floor and head");
    Ok(())
}

fn a_page_is_bounded_by_count(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    driver.publish_numbers("a", 10)?;
    ensure_eq!(
        offsets(&page(&driver, 2, 3, 10_000)?),
        [3, 4, 5],
        "the offsets"
    );
    Ok(())
}

fn a_page_is_bounded_by_bytes(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    for number in 100..110 {
        let outcome = driver.append_one(publish("a", number).marked("u", "t"));
        ensure!(outcome.is_ok(), "a publish was answered {outcome:?}");
    }
    ensure_eq!(
        offsets(&page(&driver, 0, 100, 15)?),
        [1, 2, 3],
        "15 bytes at 5 each"
    );
    ensure_eq!(
        offsets(&page(&driver, 0, 100, 14)?),
        [1, 2],
        "14 bytes at 5 each"
    );
    Ok(())
}

fn a_page_has_at_least_one_publication(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    driver.publish_numbers("a", 3)?;
    ensure_eq!(offsets(&page(&driver, 1, 100, 0)?), [2], "no bytes");
    ensure_eq!(offsets(&page(&driver, 1, 0, 100)?), [2], "no count");
    Ok(())
}

fn a_page_at_or_beyond_the_head_is_empty(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    driver.publish_numbers("a", 3)?;
    for after in [3, 4, 1_000, (1 << 53) - 1, u64::MAX] {
        let found = page(&driver, after, 10, 1_000)?;
        ensure!(
            found.publications.is_empty(),
            "after {after} comes {:?}",
            offsets(&found)
        );
        ensure_eq!(found.head, 3, "the head");
    }
    Ok(())
}

fn an_append_that_was_answered_is_read_at_once(subject: &Subject) -> Check {
    let driver = Driver::open(subject, EngineConfig::default());
    for number in 1..=50 {
        let position = driver.publish("a", number)?;
        let found = page(&driver, position.offset - 1, 10, 1_000)?;
        ensure_eq!(
            offsets(&found),
            [position.offset],
            "what follows {}",
            number - 1
        );
    }
    Ok(())
}
