//! The delivery rule, one behaviour a test.

use super::*;

fn tail(offsets: std::ops::RangeInclusive<u64>) -> Tail<u64> {
    let mut tail = Tail::new(100, 1_000);
    offsets.for_each(|offset| {
        tail.push(1, offset, offset, 10);
    });
    tail
}

fn volatile_tail(offsets: std::ops::RangeInclusive<u64>) -> Tail<u64> {
    let mut tail = Tail::new(100, 1_000);
    offsets.for_each(|offset| {
        tail.push(0, offset, offset, 10);
    });
    tail
}

fn live(last: u64, tail: &Tail<u64>) -> Subscription {
    let mut subscription = Subscription::after(1, last);
    assert!(subscription.rise(tail));
    subscription
}

fn page(first: Option<u64>, count: usize, floor: u64, head: u64) -> PageView {
    PageView {
        epoch: 1,
        floor,
        head,
        first,
        count,
    }
}

#[test]
fn live_it_gets_everything_behind_its_cursor_once() {
    let tail = tail(1..=5);
    let mut subscription = live(2, &tail);
    let delivery = subscription.on_tail(&tail, 1_000);
    assert_eq!(
        delivery,
        Delivery {
            missed: None,
            first: 3,
            count: 3,
            fell: false
        }
    );
    assert_eq!(subscription.on_tail(&tail, 1_000), Delivery::default());
}

#[test]
fn it_falls_where_the_queue_has_no_room_and_keeps_what_fits() {
    let tail = tail(1..=5);
    let mut subscription = live(0, &tail);
    let delivery = subscription.on_tail(&tail, 29);
    assert_eq!(
        delivery,
        Delivery {
            missed: None,
            first: 1,
            count: 2,
            fell: true
        }
    );
    assert_eq!(
        (subscription.last(), subscription.is_catching_up()),
        (2, true)
    );
    assert_eq!(subscription.on_tail(&tail, 1_000), Delivery::default());
}

#[test]
fn it_falls_where_the_tail_has_left_it_behind() {
    let mut subscription = live(5, &tail(1..=5));
    let delivery = subscription.on_tail(&tail(8..=9), 1_000);
    assert_eq!(
        delivery,
        Delivery {
            fell: true,
            ..Delivery::default()
        }
    );
    assert_eq!(subscription.last(), 5);
}

#[test]
fn it_rises_only_where_the_tail_reaches_its_cursor() {
    for (last, rises) in [(5, false), (6, true), (8, true), (9, true), (10, false)] {
        assert_eq!(
            Subscription::after(1, last).rise(&tail(7..=9)),
            rises,
            "{last}"
        );
    }
}

#[test]
fn pages_are_taken_from_the_cursor_on() {
    let mut subscription = Subscription::after(1, 4);
    let delivery = subscription.on_page(page(Some(5), 3, 1, 20));
    assert_eq!(
        delivery,
        Delivery {
            missed: None,
            first: 5,
            count: 3,
            fell: false
        }
    );
    // A page that was shared with another reader may begin lower.
    let delivery = subscription.on_page(page(Some(6), 5, 1, 20));
    assert_eq!(
        (delivery.first, delivery.count, subscription.last()),
        (8, 3, 10)
    );
    let delivery = subscription.on_page(page(Some(3), 2, 1, 20));
    assert_eq!((delivery.count, subscription.last()), (0, 10));
}

#[test]
fn what_retention_took_is_an_explicit_gap() {
    let mut subscription = Subscription::after(1, 4);
    let missed = |count, up_to| {
        Some(Missed {
            reason: GapReason::Expired,
            count: Some(count),
            up_to,
        })
    };
    let delivery = subscription.on_page(page(Some(9), 2, 9, 20));
    assert_eq!(
        delivery,
        Delivery {
            missed: missed(4, 8),
            first: 9,
            count: 2,
            fell: false
        }
    );
    let delivery = subscription.on_page(page(None, 0, 21, 20));
    assert_eq!(
        delivery,
        Delivery {
            missed: missed(10, 20),
            first: 21,
            count: 0,
            fell: false
        }
    );
}

/// What is told of a channel that was created anew, up to an offset of its.
fn recreated(up_to: u64) -> Option<Missed> {
    Some(Missed {
        reason: GapReason::UnknownEpoch,
        count: None,
        up_to,
    })
}

#[test]
fn a_recreated_channel_is_an_explicit_gap() {
    let mut subscription = Subscription::after(2, 40);
    let delivery = subscription.on_page(page(Some(1), 3, 1, 3));
    let whole = Delivery {
        missed: recreated(0),
        first: 1,
        count: 3,
        fell: false,
    };
    assert_eq!(delivery, whole);
    assert_eq!(subscription.epoch(), 1);
}

#[test]
fn a_recreated_channel_is_read_from_its_floor() {
    // What was read behind the offset of another record begins too high, or finds nothing.
    for (first, count, head) in [(Some(5), 6, 10), (None, 0, 4), (None, 0, 1)] {
        let mut subscription = Subscription::after(2, 4);
        let delivery = subscription.on_page(page(first, count, 1, head));
        assert_eq!((delivery.missed, delivery.count), (None, 0));
        assert_eq!(subscription.last(), 0);
        // The gap is owed, so no tail may be taken before it is told.
        assert!(subscription.is_catching_up() && !subscription.rise(&tail(1..=head)));
        let delivery = subscription.on_page(page(Some(1), head as usize, 1, head));
        let whole = Delivery {
            missed: recreated(0),
            first: 1,
            count: head as usize,
            fell: false,
        };
        assert_eq!(delivery, whole);
        assert!(subscription.rise(&tail(1..=head)));
    }
}

#[test]
fn a_recreated_channel_that_goes_on_meanwhile_is_one_gap() {
    // Retention raises the floor before it is read from there.
    let mut subscription = Subscription::after(2, 4);
    assert_eq!(
        subscription.on_page(page(Some(5), 2, 1, 6)),
        Delivery::default()
    );
    let delivery = subscription.on_page(page(Some(3), 4, 3, 6));
    assert_eq!(
        (delivery.missed, delivery.first, delivery.count),
        (recreated(2), 3, 4)
    );
    // Nothing is left of it.
    let mut subscription = Subscription::after(2, 40);
    let delivery = subscription.on_page(page(None, 0, 7, 6));
    assert_eq!((delivery.missed, delivery.count), (recreated(6), 0));
    assert_eq!(subscription.last(), 6);
    // It is forgotten and created once more.
    let mut subscription = Subscription::after(3, 4);
    let other = PageView {
        epoch: 2,
        ..page(Some(5), 2, 3, 6)
    };
    assert_eq!(subscription.on_page(other), Delivery::default());
    assert_eq!(
        subscription.on_page(page(None, 0, 1, 2)),
        Delivery::default()
    );
    let delivery = subscription.on_page(page(Some(1), 2, 1, 2));
    assert_eq!(
        (delivery.missed, delivery.first, delivery.count),
        (recreated(0), 1, 2)
    );
}

#[test]
fn without_history_a_full_queue_drops_and_one_gap_precedes_the_next() {
    let tail = volatile_tail;
    let mut subscription = Subscription::volatile(0);
    assert_eq!(subscription.on_tail(&tail(1..=3), 10).count, 1);
    assert_eq!(subscription.on_tail(&tail(1..=4), 0).count, 0);
    let delivery = subscription.on_tail(&tail(1..=6), 1_000);
    let missed = Some(Missed {
        reason: GapReason::Slow,
        count: Some(3),
        up_to: 4,
    });
    assert_eq!(
        delivery,
        Delivery {
            missed,
            first: 5,
            count: 2,
            fell: false
        }
    );
    assert_eq!(
        subscription
            .on_tail(&tail(9..=9), 1_000)
            .missed
            .map(|m| m.count),
        Some(Some(2))
    );
}

#[test]
fn a_channel_that_begins_is_followed_from_its_first_publication() {
    let mut subscription = Subscription::absent();
    assert!(subscription.rise(&Tail::<u64>::new(100, 1_000)));
    let delivery = subscription.on_tail(&tail(1..=2), 1_000);
    assert_eq!(
        (delivery.first, delivery.count, delivery.missed),
        (1, 2, None)
    );
}

#[test]
fn live_it_falls_where_the_channel_was_created_anew() {
    let mut other = Tail::new(100, 1_000);
    other.push(2, 1, 1, 10);
    let mut subscription = live(5, &tail(1..=5));
    assert!(subscription.on_tail(&other, 1_000).fell);
    assert!(!subscription.rise(&other));
}
