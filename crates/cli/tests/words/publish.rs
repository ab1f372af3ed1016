//! `bowline publish` sends nothing to where it was not told to.

use super::run;

#[test]
fn a_port_that_is_none_is_refused_and_not_replaced_by_the_schemes() {
    for port in ["99999", "65536", "abc", "-1", ""] {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://127.0.0.1:{port}");
            let (code, said) = run(&["publish", "news", "1", "--url", &url]);
            let told = format!("bowline: {url}: the URL's host or port is malformed\n");
            assert_eq!((code, said), (Some(2), told));
        }
    }
}
