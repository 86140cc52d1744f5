//! What makes equal hosts differ, and one window from the next: the generator's noise.

use crate::random::Random;

/// How much hosts, windows and samples scatter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Noise {
    /// Coefficient of variation of a host's share of each kind of request.
    pub(crate) mix: f64,
    /// Coefficient of variation of what a function costs on a host.
    pub(crate) function: f64,
    /// Coefficient of variation of what a function costs in one window of one host.
    pub(crate) jitter: f64,
    /// Chance that a host does three times as much of one kind of request as others.
    pub(crate) heavy: f64,
    /// Mean length of the runs in which samples of a stack come.
    pub(crate) burst: f64,
    /// Amplitude of the day in each workload, in logarithms.
    pub(crate) diurnal: f64,
    /// Standard deviation of each workload's slow wander, in logarithms.
    pub(crate) shock: f64,
    /// Correlation of that wander from one window to the next.
    pub(crate) memory: f64,
    /// Chance of a window that a burst of one workload begins, of one to six windows.
    pub(crate) transients: f64,
    /// Standard deviation of the logarithm of a host's samples.
    pub(crate) uptime: f64,
    /// Largest part of a host's samples that is lost.
    pub(crate) lost: f64,
    /// Largest part of a host's stacks that end at a function without a name.
    pub(crate) missing: f64,
}

impl Noise {
    /// Samples alone: hosts do not differ.
    pub(crate) const NONE: Self = Self {
        mix: 0.0,
        function: 0.0,
        jitter: 0.0,
        heavy: 0.0,
        burst: 1.0,
        diurnal: 0.0,
        shock: 0.0,
        memory: 0.0,
        transients: 0.0,
        uptime: 0.0,
        lost: 0.0,
        missing: 0.0,
    };

    /// Hosts behind a good load balancer.
    pub(crate) const LIGHT: Self = Self { mix: 0.05, function: 0.02, jitter: 0.03, ..Self::NONE };

    /// Hosts that differ as the pods of a fleet do.
    pub(crate) const TYPICAL: Self = Self {
        mix: 0.15,
        function: 0.05,
        jitter: 0.05,
        diurnal: 0.1,
        shock: 0.1,
        memory: 0.7,
        uptime: 0.2,
        ..Self::NONE
    };

    /// One draw of all factors from their levels: a row of the design of the false-alarm runs.
    pub(crate) fn any(random: &mut Random) -> Self {
        Self {
            mix: random.pick(&[0.0, 0.05, 0.15, 0.30]),
            function: random.pick(&[0.0, 0.05, 0.10]),
            jitter: random.pick(&[0.0, 0.05, 0.10]),
            heavy: random.pick(&[0.0, 0.0, 0.01]),
            burst: random.pick(&[1.0, 1.0, 2.0, 5.0]),
            diurnal: random.pick(&[0.0, 0.10, 0.25]),
            shock: random.pick(&[0.0, 0.10, 0.20]),
            memory: random.pick(&[0.0, 0.7, 0.9]),
            transients: random.pick(&[0.0, 0.0, 0.02]),
            uptime: random.pick(&[0.0, 0.2, 0.5]),
            lost: random.pick(&[0.0, 0.0, 0.05]),
            missing: random.pick(&[0.0, 0.0, 0.02, 0.10]),
        }
    }
}

/// Latent workloads: kinds of requests share one of so many days.
const WORKLOADS: usize = 60;

/// Windows of five minutes in a day.
const WINDOWS_A_DAY: f64 = 288.0;

/// Most windows of a burst of one workload.
const TRANSIENT_WINDOWS_MAX: usize = 6;

/// How busy each workload is in each window: the same for all hosts.
#[derive(Debug)]
pub(crate) struct Weather(Vec<[f64; WORKLOADS]>);

impl Weather {
    /// Draws the windows from `start` on.
    pub(crate) fn draw(noise: &Noise, name: &[u64], windows: usize) -> Self {
        let mut random = Random::of(&[name, &[u64::from_be_bytes(*b"weather.")]].concat());
        let phases: Vec<f64> = (0..WORKLOADS).map(|_| random.uniform()).collect();
        let mut wander: Vec<f64> = (0..WORKLOADS).map(|_| random.normal()).collect();
        let mut bursts = vec![(0_usize, 0.0); WORKLOADS];
        let start = random.uniform();
        let mut rows = vec![[1.0; WORKLOADS]; windows];
        for (window, row) in rows.iter_mut().enumerate() {
            for (load, factor) in row.iter_mut().enumerate() {
                let innovation = (1.0 - noise.memory * noise.memory).sqrt();
                wander[load] = noise.memory * wander[load] + innovation * random.normal();
                let burst = &mut bursts[load];
                burst.0 = burst.0.saturating_sub(1);
                if burst.0 == 0 && random.uniform() < noise.transients {
                    let windows = 1 + random.below(TRANSIENT_WINDOWS_MAX);
                    *burst = (windows + 1, 0.4 + 0.6 * random.uniform());
                }
                let day = start + phases[load] + window as f64 / WINDOWS_A_DAY;
                let season = noise.diurnal * (std::f64::consts::TAU * day).sin();
                let transient = if burst.0 > 0 { burst.1 } else { 0.0 };
                *factor = (season + noise.shock * wander[load] + transient).exp();
            }
        }
        Self(rows)
    }

    /// How busy the workload of a kind of request is.
    pub(crate) fn factor(&self, kind: u32, window: usize) -> f64 {
        self.0[window][kind as usize % WORKLOADS]
    }
}
