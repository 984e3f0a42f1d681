//! Simulates people on a website: a pool of users, sessions that begin at random times, pages that link to each other.
//! In the first second everybody opens a page, so that a short simulation has events, too.
//!
//! The same seed always gives the same events, and the whole simulation is its own position: saved and restored, it
//! goes on with the event that would have come next.

use serde_json::json;
use wxhost_guest::prelude::*;

const DAY: u64 = 86_400_000_000;

/// The pages, and where people go from each. The last of the links is taken by those who leave.
const PAGES: [(&str, &[usize]); 7] = [
    ("/home", &[1, 2, 6]),
    ("/product_a", &[0, 2, 3]),
    ("/product_b", &[0, 1, 3]),
    ("/cart", &[1, 2, 4]),
    ("/payment", &[3, 5, 5]),
    ("/confirmation", &[0, 6]),
    ("/about", &[0, 1]),
];
const ENTRY_PAGES: [usize; 3] = [0, 1, 2];
const SITE: &str = "www.dummywebsite.com";

const NAMES: [&str; 12] =
    ["ada", "alan", "barbara", "dennis", "edsger", "frances", "grace", "john", "katherine", "ken", "linus", "margaret"];
const DOMAINS: [&str; 5] = ["example.com", "example.org", "example.net", "bytewax.io", "mail.example"];
const BROWSERS: [(&str, &str); 4] = [
    ("Firefox", "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0"),
    ("Chrome", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"),
    ("Safari", "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_2) AppleWebKit/605.1.15 Version/17.2 Safari/605.1.15"),
    ("Opera", "Opera/9.80 (X11; Linux x86_64; U; en) Presto/2.10.289 Version/12.02"),
];
const SYSTEMS: [(&str, &str, bool); 5] = [
    ("Linux", "Computer", false),
    ("Windows", "Computer", false),
    ("Macintosh", "Computer", false),
    ("Android", "Phone", true),
    ("iOS", "Phone", true),
];
const LANGUAGES: [&str; 5] = ["en_US", "de_DE", "fr_FR", "pt_BR", "ja_JP"];
const PLACES: [(&str, &str, &str, f64, f64); 5] = [
    ("Lisbon", "PT", "Europe/Lisbon", 38.7223, -9.1393),
    ("Berlin", "DE", "Europe/Berlin", 52.52, 13.405),
    ("Denver", "US", "America/Denver", 39.7392, -104.9903),
    ("Osaka", "JP", "Asia/Tokyo", 34.6937, 135.5023),
    ("Nairobi", "KE", "Africa/Nairobi", -1.2921, 36.8219),
];
const REFERERS: [(&str, &str); 4] = [
    ("www.google.com/search", "internet search"),
    ("www.facebook.com", "social media"),
    ("www.instagram.com", "social media"),
    ("", "direct"),
];

/// The state of a simulation.
#[derive(Debug, Clone, PartialEq, Saved)]
pub struct Simulation {
    random: Random,
    sessions_per_day: f64,
    users: Vec<User>,
    /// People on the site now, in no order.
    sessions: Vec<Session>,
    /// When the next session begins, in microseconds since 1970.
    next_session: u64,
}

#[derive(Debug, Clone, PartialEq, Saved)]
struct User {
    email: String,
    domain_id: String,
    browser: usize,
    system: usize,
    language: usize,
    place: usize,
    ip_address: String,
}

#[derive(Debug, Clone, PartialEq, Saved)]
struct Session {
    user: usize,
    page: usize,
    /// The page that led here, or nothing for the first.
    previous: Option<usize>,
    referer: usize,
    /// When the page is opened, in microseconds since 1970.
    at: u64,
}

impl Simulation {
    /// Starts at a time, with so many users, each of whom comes `sessions_per_day` times a day on the average.
    pub fn new(seed: u64, users: usize, sessions_per_day: f64, start: Timestamp) -> Self {
        let mut random = Random { state: seed };
        let users: Vec<User> = (0..users).map(|number| User::new(&mut random, number)).collect();
        let sessions_per_day = sessions_per_day * users.len() as f64;
        let mut simulation = Self { random, sessions_per_day, users, sessions: Vec::new(), next_session: 0 };
        let start = start.micros().max(0) as u64;
        for user in 0..simulation.users.len() {
            let at = start + simulation.random.below(1_000_000) as u64;
            simulation.open_session(user, at);
        }
        simulation.next_session = start.saturating_add(simulation.gap());
        simulation
    }

    /// Returns when the next event happens.
    pub fn next_at(&self) -> Timestamp {
        let pages = self.sessions.iter().map(|session| session.at);
        Timestamp::from_micros(pages.fold(self.next_session, u64::min) as i64)
    }

    /// Returns the next event as JSON text.
    pub fn next_event(&mut self) -> String {
        let next = (0..self.sessions.len()).min_by_key(|index| (self.sessions[*index].at, *index));
        let index = match next {
            Some(index) if self.sessions[index].at <= self.next_session => index,
            _ => self.begin_session(),
        };
        let session = self.sessions[index].clone();
        let event = self.event(&session);
        self.move_on(index);
        event
    }

    /// The time until the next session begins: exponential, as between events that know nothing of each other.
    fn gap(&mut self) -> u64 {
        let mean = DAY as f64 / self.sessions_per_day;
        (-mean * (1.0 - self.random.fraction()).ln()).max(1.0) as u64
    }

    fn begin_session(&mut self) -> usize {
        let at = self.next_session;
        self.next_session = at.saturating_add(self.gap());
        let user = self.random.below(self.users.len());
        self.open_session(user, at)
    }

    fn open_session(&mut self, user: usize, at: u64) -> usize {
        let page = *self.random.pick(&ENTRY_PAGES);
        let referer = self.random.below(REFERERS.len());
        self.sessions.push(Session { user, page, previous: None, referer, at });
        self.sessions.len() - 1
    }

    /// Opens the next page after half a second to ten seconds, or leaves.
    fn move_on(&mut self, index: usize) {
        if self.random.below(5) == 0 {
            self.sessions.swap_remove(index);
            return;
        }
        let pause = 500_000 + self.random.below(9_500_000) as u64;
        let session = &mut self.sessions[index];
        session.previous = Some(session.page);
        session.page = *self.random.pick(PAGES[session.page].1);
        session.at += pause;
    }

    fn event(&mut self, session: &Session) -> String {
        let user = &self.users[session.user];
        let at = Timestamp::from_micros(session.at as i64);
        let page = PAGES[session.page].0;
        let (referer_site, referer_medium) = REFERERS[session.referer];
        let (referer_url, referer_scheme, referer_path, referer_medium) = match session.previous {
            Some(previous) => (SITE, "http", PAGES[previous].0, "internal"),
            None => {
                let (site, path) = referer_site.split_once('/').unwrap_or((referer_site, ""));
                (site, "http", path, referer_medium)
            }
        };
        let (browser, user_agent) = BROWSERS[user.browser];
        let (system, device, is_mobile) = SYSTEMS[user.system];
        let (city, country, timezone, latitude, longitude) = PLACES[user.place];
        json!({
            "event_id": self.random.uuid(),
            "event_timestamp": format!(
                "{} {:02}:{:02}:{:02}.{:06}",
                at.date(), at.hour(), at.minute(), at.second(), at.microsecond()
            ),
            "event_type": "pageview",
            "page_url": format!("http://{SITE}{page}"),
            "page_url_path": page,
            "referer_url": referer_url,
            "referer_url_scheme": referer_scheme,
            "referer_url_port": "80",
            "referer_path": referer_path,
            "referer_medium": referer_medium,
            "utm_medium": "",
            "utm_source": "",
            "utm_content": "",
            "utm_campaign": "",
            "click_id": self.random.uuid(),
            "geo_latitude": latitude,
            "geo_longitude": longitude,
            "geo_country": country,
            "geo_timezone": timezone,
            "geo_region_name": city,
            "ip_address": user.ip_address,
            "browser_name": browser,
            "browser_user_agent": user_agent,
            "browser_language": LANGUAGES[user.language],
            "os": system,
            "os_name": system,
            "os_timezone": timezone,
            "device_type": device,
            "device_is_mobile": is_mobile,
            "user_custom_id": user.email,
            "user_domain_id": user.domain_id,
        })
        .to_string()
    }
}

impl User {
    fn new(random: &mut Random, number: usize) -> Self {
        let name = random.pick(&NAMES);
        let domain = random.pick(&DOMAINS);
        let byte = |random: &mut Random| random.below(254) + 1;
        Self {
            email: format!("{name}{number}@{domain}"),
            domain_id: random.uuid(),
            browser: random.below(BROWSERS.len()),
            system: random.below(SYSTEMS.len()),
            language: random.below(LANGUAGES.len()),
            place: random.below(PLACES.len()),
            // From the net 198.18.0.0/15, which is kept for tests.
            ip_address: format!("198.{}.{}.{}", 18 + random.below(2), byte(random), byte(random)),
        }
    }
}

/// SplitMix64: small, and its state is one number.
#[derive(Debug, Clone, PartialEq, Saved)]
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`. The bias is below 1 in 2^32 for the limits here.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// Returns a number from 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let variant = 0x8000 | (low >> 48 & 0x3fff);
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            variant,
            low & 0xffff_ffff_ffff
        )
    }
}
