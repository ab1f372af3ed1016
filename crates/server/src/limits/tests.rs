//! Who comes in and who does not, without sockets.

use super::*;

fn limits(config: Config) -> Arc<Limits> {
    Arc::new(Limits::new(Arc::new(config), Clock::start()))
}

fn ip(last: u8) -> Option<IpAddr> {
    Some([192, 0, 2, last].into())
}

fn code(outcome: Result<Pass, Refusal>) -> Code {
    outcome.expect_err("a refusal").code
}

fn user(name: &str) -> Arc<str> {
    name.into()
}

fn small() -> Config {
    Config {
        connections_per_ip_max: 2,
        verified_connections_per_ip_max: 5,
        connections_per_user_max: 2,
        rate_limit_attempts_max: 100,
        ..Config::default()
    }
}

#[test]
fn guests_are_bounded_by_address_and_places_come_back() {
    let limits = limits(small());
    let first = limits.enter(ip(1), false).unwrap();
    let second = limits.enter(ip(1), false).unwrap();
    assert_eq!(code(limits.enter(ip(1), false)), Code::TooManyConnections);
    let _other = limits.enter(ip(2), false).unwrap();
    first.settle(None, None).unwrap();
    assert_eq!(code(limits.enter(ip(1), false)), Code::TooManyConnections);
    drop(second);
    let third = limits.enter(ip(1), false).unwrap();
    drop((first, third));
    limits.enter(ip(1), false).unwrap();
}

#[test]
fn verified_users_leave_room_for_guests_up_to_the_higher_ceiling() {
    let limits = limits(small());
    let mut passes = Vec::new();
    for name in ["a", "b", "c"] {
        let pass = limits.enter(ip(1), true).unwrap();
        pass.settle(Some(&user(name)), None).unwrap();
        passes.push(pass);
    }
    for _ in 0..2 {
        let pass = limits.enter(ip(1), true).unwrap();
        pass.settle(None, None).unwrap();
        passes.push(pass);
    }
    assert_eq!(code(limits.enter(ip(1), true)), Code::TooManyConnections);
}

#[test]
fn an_office_with_guests_at_their_limit_still_lets_users_in() {
    let limits = limits(Config {
        verified_connections_per_ip_max: 50,
        ..small()
    });
    let guests: Vec<_> = (0..2)
        .map(|_| {
            let pass = limits.enter(ip(1), true).unwrap();
            pass.settle(None, None).unwrap();
            pass
        })
        .collect();
    let known = limits.enter(ip(1), true).expect("it may prove itself");
    known.settle(Some(&user("a")), None).unwrap();
    let guest = limits.enter(ip(1), true).expect("it may prove itself");
    let refusal = guest.settle(None, None).expect_err("it proved nothing");
    assert_eq!(refusal.code, Code::TooManyConnections);
    drop((guests, known, guest));
    assert_eq!(lock(&limits.inner).open, 0);
    assert_eq!(lock(&limits.inner).handshakes, 0);
    assert!(lock(&limits.inner).users.is_empty());
}

#[test]
fn a_takeover_takes_the_place_of_the_old_connection() {
    let limits = limits(Config {
        connections_per_ip_max: 1,
        connections_per_user_max: 1,
        ..small()
    });
    let old = limits.enter(ip(1), true).unwrap();
    old.settle(None, None).unwrap();
    let new = limits.enter(ip(1), true).expect("it may take over");
    new.settle(None, Some(&old)).unwrap();
    drop(old);
    let another = limits.enter(ip(1), true).expect("it may take over");
    assert!(another.settle(None, None).is_err());
    drop((new, another));

    let old = limits.enter(ip(2), true).unwrap();
    old.settle(Some(&user("a")), None).unwrap();
    let elsewhere = limits.enter(ip(3), true).unwrap();
    elsewhere.settle(Some(&user("a")), Some(&old)).unwrap();
    let more = limits.enter(ip(4), true).unwrap();
    let refusal = more
        .settle(Some(&user("a")), None)
        .expect_err("one per user");
    assert_eq!(refusal.code, Code::TooManyConnections);
}

#[test]
fn who_is_refused_holds_its_place_until_it_is_gone() {
    let limits = limits(Config {
        connections_per_ip_max: 1,
        ..small()
    });
    let guest = limits.enter(ip(1), true).unwrap();
    guest.settle(None, None).unwrap();
    let refused: Vec<_> = (0..2)
        .map(|_| {
            let pass = limits.enter(ip(1), true).expect("it may prove itself");
            pass.settle(None, None).expect_err("it proved nothing");
            pass
        })
        .collect();
    assert_eq!(code(limits.enter(ip(1), true)), Code::TooManyConnections);
    assert_eq!(lock(&limits.inner).handshakes, 3);
    drop(refused);
    assert_eq!(lock(&limits.inner).handshakes, 1);
    limits.enter(ip(1), true).expect("it may prove itself");
}

#[test]
fn a_connection_that_was_replaced_counts_in_all_until_it_is_gone() {
    let limits = limits(Config {
        connections_max: 2,
        ..small()
    });
    let old = limits.enter(ip(1), true).unwrap();
    old.settle(Some(&user("a")), None).unwrap();
    let new = limits.enter(ip(1), true).unwrap();
    new.settle(Some(&user("a")), Some(&old)).unwrap();
    assert_eq!(code(limits.enter(ip(1), true)), Code::Overloaded);
    drop(old);
    limits.enter(ip(1), true).expect("there is room again");
}

#[test]
fn only_unverified_and_failed_attempts_count() {
    let limits = limits(Config {
        rate_limit_attempts_max: 3,
        connections_per_user_max: 100,
        verified_connections_per_ip_max: 50,
        ..small()
    });
    for _ in 0..10 {
        let pass = limits.enter(ip(1), true).unwrap();
        pass.settle(Some(&user("a")), None).unwrap();
    }
    for _ in 0..2 {
        drop(limits.enter(ip(1), false).unwrap());
    }
    limits
        .enter(ip(1), false)
        .unwrap()
        .settle(None, None)
        .unwrap();
    let refusal = limits.enter(ip(1), true).expect_err("three attempts");
    assert_eq!(refusal.code, Code::TooManyAttempts);
    let wait = refusal.retry_after_ms.unwrap();
    assert!((59_000..=60_001).contains(&wait), "{wait}");
    assert_eq!(
        limits.verdict(ip(1), false).expect_err("the same").code,
        Code::TooManyAttempts
    );
    assert_eq!(limits.verdict(ip(2), false), Ok(()));
}

#[test]
fn an_address_whose_attempts_are_spent_lets_its_users_in() {
    let limits = limits(Config {
        rate_limit_attempts_max: 1,
        ..small()
    });
    let known = limits.enter(ip(1), true).unwrap();
    known.settle(Some(&user("a")), None).unwrap();
    drop(limits.enter(ip(1), true).unwrap());
    let colleague = limits.enter(ip(1), true).expect("it may prove itself");
    colleague.settle(Some(&user("b")), None).unwrap();
    let guest = limits.enter(ip(1), true).expect("it may prove itself");
    let refusal = guest.settle(None, None).expect_err("it proved nothing");
    assert_eq!(refusal.code, Code::TooManyAttempts);
    assert_eq!(code(limits.enter(ip(1), false)), Code::TooManyAttempts);
}

#[test]
fn loopback_is_exempt_unless_told() {
    let loopback = Some(IpAddr::from([127, 0, 0, 1]));
    let exempt = limits(small());
    let _open: Vec<_> = (0..10)
        .map(|_| exempt.enter(loopback, false).unwrap())
        .collect();
    let strict = limits(Config {
        loopback_exempt: false,
        ..small()
    });
    let _two: Vec<_> = (0..2)
        .map(|_| strict.enter(loopback, false).unwrap())
        .collect();
    assert_eq!(
        code(strict.enter(loopback, false)),
        Code::TooManyConnections
    );
}

#[test]
fn all_connections_and_handshakes_are_bounded() {
    let limits = limits(Config {
        connections_max: 3,
        handshakes_max: 2,
        ..small()
    });
    let first = limits.enter(None, true).unwrap();
    let _second = limits.enter(None, true).unwrap();
    let refusal = limits.enter(None, true).expect_err("two handshakes");
    assert_eq!(refusal.code, Code::Overloaded);
    assert!(refusal.retry_after_ms.unwrap() >= 500);
    first.welcomed();
    first.welcomed();
    let third = limits.enter(None, true).unwrap();
    third.welcomed();
    assert_eq!(code(limits.enter(None, true)), Code::Overloaded);
}

#[test]
fn an_address_that_comes_late_is_judged_as_well() {
    let limits = limits(small());
    let late: Vec<_> = (0..2).map(|_| limits.enter(None, false).unwrap()).collect();
    late.iter()
        .for_each(|pass| pass.locate(ip(1).unwrap(), false).unwrap());
    let third = limits.enter(None, false).unwrap();
    assert!(third.locate(ip(1).unwrap(), false).is_err());
    drop((late, third));
    assert_eq!(lock(&limits.inner).open, 0);
}
