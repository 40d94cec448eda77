//! Where visitors come from and what they browse with.

use super::seed::hash;

/// A country visitors come from.
pub(super) struct Place {
    /// ISO 3166-1 alpha-2.
    pub code: &'static str,
    /// Offset of its clocks from UTC in minutes; one for the country and no summer time, as only its spelling counts.
    pub offset: i32,
}

macro_rules! places {
    ($($code:literal $offset:literal,)*) => { [$(Place { code: $code, offset: $offset }),*] };
}

/// Most visitors first; the share falls as a power of the rank.
pub(super) const PLACES: [Place; 24] = places![
    "US" -300, "DE" 120, "GB" 60, "FR" 120, "NL" 120, "ES" 120, "CA" -240, "IT" 120, "SE" 120, "PL" 120,
    "AU" 600, "BR" -180, "AT" 120, "CH" 120, "BE" 120, "DK" 120, "NO" 120, "IN" 330, "JP" 540, "IE" 60,
    "PT" 60, "FI" 180, "MX" -360, "NZ" 720,
];

/// Returns the share of visitors by place, not normalised.
pub(super) fn place_weights() -> Vec<f32> {
    (0..PLACES.len()).map(|rank| (rank as f32 + 1.2).powf(-1.05)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Device {
    Mobile,
    Desktop,
    Tablet,
    App,
}

pub(super) const DEVICES: [Device; 4] =
    [Device::Mobile, Device::Desktop, Device::Tablet, Device::App];
pub(super) const DEVICE_WEIGHTS: [f32; 4] = [0.44, 0.29, 0.07, 0.20];

impl Device {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Desktop => "desktop",
            Self::Tablet => "tablet",
            Self::App => "app",
        }
    }

    /// Returns the browser a visitor uses on this device, the same each time.
    pub(super) fn agent(self, visitor: u64) -> &'static str {
        let agents: &[&str] = match self {
            Self::Mobile => &[
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.5 Mobile/15E148 Safari/604.1",
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile \
                 Safari/537.36",
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 \
                 Chrome/130.0.0.0 Mobile Safari/537.36",
                "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
            ],
            Self::Desktop => &[
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 \
                 Safari/537.36",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/18.5 Safari/605.1.15",
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 \
                 Safari/537.36 Edg/138.0.0.0",
            ],
            Self::Tablet => &[
                "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 \
                 Mobile/15E148 Safari/604.1",
                "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 \
                 Safari/537.36",
            ],
            Self::App => &[
                "ShopApp/7.4.1 (iOS 18.5; iPhone16,2)",
                "ShopApp/7.4.0 (Android 15; Pixel 8)",
                "ShopApp/7.2.3 (Android 14; SM-S921B)",
            ],
        };
        let pick = hash(visitor, 0xA6E7) as usize % agents.len();
        agents.get(pick).copied().unwrap_or_default()
    }
}

/// User agents of bots, each with one of the words by which they are known.
pub(super) const BOT_AGENTS: [&str; 6] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "PriceCrawler/1.3 (+https://prices.example/crawler)",
    "Baiduspider/2.0 (+http://www.baidu.com/search/spider.html)",
    "python-requests/2.32 shop-spider",
];
