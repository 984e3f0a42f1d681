//! Steps of a flow, to be run by wxhost. Each function takes rows by the names of their columns.

use wxhost_guest::prelude::*;

#[derive(Row)]
struct Celsius {
    celsius: f64,
}

#[derive(Row)]
struct Fahrenheit {
    fahrenheit: f64,
}

/// Adds the column `fahrenheit`. The other columns stay as they are.
#[map(extend)]
fn to_fahrenheit(reading: Celsius) -> Result<Fahrenheit> {
    if reading.celsius < -273.15 {
        return Err(Error::user(format!("{} °C is colder than anything can be", reading.celsius)));
    }
    Ok(Fahrenheit { fahrenheit: reading.celsius * 1.8 + 32.0 })
}

/// The mean of the column `fahrenheit`, for each key.
#[derive(Default, State)]
struct Average {
    sum: f64,
    rows: u64,
}

#[derive(Row)]
struct Mean {
    mean: f64,
    rows: u64,
}

impl Fold for Average {
    type In<'a> = Fahrenheit;
    type Out = Mean;

    fn fold(&mut self, row: Fahrenheit) {
        self.sum += row.fahrenheit;
        self.rows += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.rows += other.rows;
    }

    fn finish(&self) -> Mean {
        Mean { mean: self.sum / self.rows as f64, rows: self.rows }
    }
}

plugin!(to_fahrenheit, Average);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing;

    use super::*;

    #[test]
    fn water_boils_at_212_and_nothing_is_colder_than_can_be() {
        let output = testing::transform::<to_fahrenheit>().run([Celsius { celsius: 100.0 }, Celsius { celsius: -300.0 }]);
        assert_eq!(output.json_lines(), r#"{"celsius":100.0,"fahrenheit":212.0}"#);
        assert_eq!(output.errors, [(1, "-300 °C is colder than anything can be".to_owned())]);
    }
}
