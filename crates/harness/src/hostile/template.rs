//! The few variables in the texts of the table.
//!
//! Owns `{{…}}`: `{{host}}` is the server, `{{case}}` a name that no other case has, `{{token:NAME}}` a
//! token of [`super::tokens`], `{{key}}` the server's API key, `{{admin}}` its admin's token, `{{x*300}}` the
//! text `x` 300 times, and `{{#x#*300}}` the texts `x0` to `x299`.

use super::tokens::Tokens;

/// What a case may name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) host: &'a str,
    pub(super) case: &'a str,
    pub(super) key: &'a str,
    pub(super) admin: &'a str,
    pub(super) tokens: &'a Tokens,
}

/// The text with its variables replaced.
///
/// # Errors
/// A variable that there is not.
pub(super) fn expand(text: &str, names: Names<'_>) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        whole += before;
        let (variable, after) = after
            .split_once("}}")
            .ok_or_else(|| format!("a variable without end in {text:?}"))?;
        match variable {
            "host" => whole += names.host,
            "case" => whole += names.case,
            "key" => whole += names.key,
            "admin" => whole += names.admin,
            _ => whole += &made(variable, names.tokens)?,
        }
        rest = after;
    }
    Ok(whole + rest)
}

fn made(variable: &str, tokens: &Tokens) -> Result<String, String> {
    let unknown = || format!("there is no variable {variable:?}");
    if let Some(name) = variable.strip_prefix("token:") {
        return tokens.mint(name).ok_or_else(unknown);
    }
    let (unit, times) = variable.rsplit_once('*').ok_or_else(unknown)?;
    let times: usize = times.parse().map_err(|_| unknown())?;
    Ok(match unit.strip_prefix('#') {
        None => unit.repeat(times),
        Some(unit) => (0..times)
            .map(|number| unit.replace('#', &number.to_string()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_and_others_reported() {
        let tokens = Tokens::new().unwrap();
        let names = Names {
            host: "here:1",
            case: "c1",
            key: "k",
            admin: "a",
            tokens: &tokens,
        };
        let text = expand("{\"a\":{{[*3}}1} {{host}} {{case}}", names);
        assert_eq!(text.as_deref(), Ok("{\"a\":[[[1} here:1 c1"));
        assert_eq!(expand("{{#a#,*3}}", names).as_deref(), Ok("a0,a1,a2,"));
        assert!(expand("{{token:none at all}}", names).is_err());
        assert!(expand("{{", names).is_err());
    }
}
