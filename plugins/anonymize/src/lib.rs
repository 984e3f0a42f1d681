//! Cleans user data: hides the names in e-mail addresses and drops the rows of one company.

use wxhost_guest::prelude::*;

#[derive(Row)]
struct User<'a> {
    email: &'a str,
}

#[derive(Row)]
struct Anonymous {
    email: String,
}

/// Replaces what stands before the last "@" of `email` by "******".
#[map(extend)]
fn anonymize_email(user: User<'_>) -> Result<Anonymous> {
    match user.email.rsplit_once('@') {
        Some((_, domain)) => Ok(Anonymous { email: format!("******@{domain}") }),
        None => Err(Error::user("column \"email\" holds no \"@\"")),
    }
}

/// Keeps the rows whose `email` is not of bytewax.
#[filter]
fn remove_bytewax(user: User<'_>) -> bool {
    !user.email.contains("bytewax")
}

plugin!(anonymize_email, remove_bytewax);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing::{self, transform};

    use super::*;

    #[test]
    fn the_name_goes_and_the_rest_stays() {
        let output = transform::<anonymize_email>().run(testing::json(
            r#"{"id": 1, "email": "ada@example.com"}
               {"id": 2, "email": "odd@name@example.org"}"#,
        ));
        assert_eq!(
            output.json_lines(),
            "{\"email\":\"******@example.com\",\"id\":1}\n{\"email\":\"******@example.org\",\"id\":2}"
        );
    }

    #[test]
    fn a_row_without_an_address_is_an_error_without_the_address_in_it() {
        let output = transform::<anonymize_email>().run([User { email: "nobody" }, User { email: "a@b" }]);
        assert_eq!(output.errors, [(0, "column \"email\" holds no \"@\"".to_owned())]);
        assert_eq!(output.parents, [1]);
    }

    #[test]
    fn rows_of_bytewax_are_dropped() {
        let output = transform::<remove_bytewax>().run([User { email: "a@bytewax.io" }, User { email: "a@b.io" }]);
        assert_eq!(output.parents, [1]);
    }
}
