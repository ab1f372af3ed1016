//! The tails of all channels share one bound.

use bowline_proto::Data;

use super::*;

/// What one publication here is as a frame, at most.
const FRAME_BYTES_MAX: usize = 600;

fn publication(offset: u64) -> Arc<Publication> {
    Arc::new(Publication {
        offset,
        term: 7,
        data: Data::Json(format!("\"{}\"", "x".repeat(398)).into()),
        user: None,
        tag: None,
    })
}

async fn publish(channel: &Arc<Channel>, offset: u64) {
    if channel.publish(1, &publication(offset)) {
        channel.clone().broadcast(|| Time::ZERO).await;
    }
}

fn channels(count: usize, budget: &Arc<TailBudget>) -> Vec<Arc<Channel>> {
    (0..count)
        .map(|n| Channel::new(format!("c{n}").into(), budget.clone()))
        .collect()
}

#[tokio::test]
async fn channels_that_rest_give_their_tails_up() {
    const BOUND: usize = 10 * FRAME_BYTES_MAX;
    let budget = Arc::new(TailBudget::new(100, 1 << 20, BOUND));
    let channels = channels(200, &budget);
    for round in 1..=3 {
        for channel in &channels {
            publish(channel, round).await;
            assert!(budget.bytes() <= BOUND);
        }
    }
    assert!(budget.bytes() > BOUND / 2, "{}", budget.bytes());
    // The last ones to speak hold something still, and know where the head is.
    let last = channels.last().expect("there are some");
    assert_eq!(last.with_tail(|tail| (tail.start(), tail.head())).1, 3);
    assert!(last.with_tail(|tail| tail.from(3).count()) == 1);
    assert_eq!(
        channels[0].with_tail(|tail| (tail.start(), tail.head())),
        (4, 3)
    );
    drop(channels);
    assert_eq!(budget.bytes(), 0);
}

#[tokio::test]
async fn one_channel_alone_keeps_within_it_too() {
    const BOUND: usize = FRAME_BYTES_MAX / 2;
    let budget = Arc::new(TailBudget::new(100, 1 << 20, BOUND));
    let channels = channels(1, &budget);
    for offset in 1..=5 {
        publish(&channels[0], offset).await;
        assert!(budget.bytes() <= BOUND);
    }
    assert_eq!(channels[0].with_tail(|tail| tail.head()), 5);
}

#[test]
fn channels_that_are_gone_leave_the_list() {
    let budget = Arc::new(TailBudget::new(100, 1 << 20, 1 << 20));
    let kept = channels(50, &budget);
    for channel in &kept {
        budget.list(Arc::downgrade(channel));
    }
    for _ in 0..10_000 {
        let gone = Channel::new("gone".into(), budget.clone());
        budget.list(Arc::downgrade(&gone));
    }
    assert!(budget.holders() < 250, "{}", budget.holders());
}
