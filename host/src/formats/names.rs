//! Finding a member of a struct by its name, for every key of every record.

/// The names of a struct's members.
///
/// Records of one source mostly have their keys in one order, so the member that followed the last one found is tried
/// first: one comparison a key, whatever the number of members.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<Box<str>>,
    /// The members in the order of their names, for the search.
    sorted: Vec<u32>,
    /// For each member, and for the start of the record at the end, the member found after it the last time.
    followers: Vec<u32>,
}

impl Names {
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Names {
        let names: Vec<Box<str>> = names.map(Box::from).collect();
        let count = names.len() as u32;
        let mut sorted: Vec<u32> = (0..count).collect();
        sorted.sort_by_key(|member| &names[*member as usize]);
        let followers = (1..=count).chain([0]).collect();
        Names { names, sorted, followers }
    }

    /// Returns the place before the first key of a record, for the first call of [`Names::find`].
    pub fn start(&self) -> usize {
        self.names.len()
    }

    /// Returns the member with this name; `previous` is the one found before in this record.
    #[inline]
    pub fn find(&mut self, previous: usize, name: &str) -> Option<usize> {
        let guess = self.followers[previous] as usize;
        match self.names.get(guess) {
            Some(guessed) if **guessed == *name => Some(guess),
            _ => self.search(previous, name),
        }
    }

    fn search(&mut self, previous: usize, name: &str) -> Option<usize> {
        let by_name = |member: &u32| (*self.names[*member as usize]).cmp(name);
        let place = self.sorted.binary_search_by(by_name).ok()?;
        let found = self.sorted[place];
        self.followers[previous] = found;
        Some(found as usize)
    }

    pub fn name(&self, member: usize) -> &str {
        &self.names[member]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_order_and_the_order_is_learned() {
        let mut names = Names::new(["b", "a", "c"].into_iter());
        for keys in [&["b", "a", "c"][..], &["c", "x", "b"], &["c", "x", "b"], &[], &["c", "c"]] {
            let mut previous = names.start();
            for key in keys {
                let found = names.find(previous, key);
                assert_eq!(found.map(|member| names.name(member)), (*key != "x").then_some(*key));
                previous = found.unwrap_or(previous);
            }
        }
        assert_eq!(names.followers[3], 2);
        assert_eq!(Names::new(std::iter::empty()).find(0, "a"), None);
    }
}
