//! Mann-Whitney's rank test of the hosts' shares (1947), Benjamini-Hochberg over all functions. Exact for small sides
//! without ties; else the normal law with the corrections for ties and continuity.

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::{Alarm, View, discoveries};

/// Largest side for which the exact law is counted out.
const EXACT_HOSTS_MAX: usize = 12;

pub(super) fn alarms(view: &View) -> Vec<Alarm> {
    let [m, n] = [view.hosts[0].len(), view.hosts[1].len()];
    let exact = (m.max(n) <= EXACT_HOSTS_MAX).then(|| upper_tails(m, n));
    let found = view.items.iter().map(|item| {
        let [before, after] = view.host_shares(item);
        let p = two_sided(&before, &after, exact.as_deref());
        (p, Alarm { scope: item.scope.clone(), delta: view.delta(item) })
    });
    let all: Vec<(f64, Alarm)> = found.collect();
    let tests = all.len();
    discoveries(all, tests).into_iter().filter(|alarm| alarm.delta > 0.0).collect()
}

fn two_sided(before: &[f64], after: &[f64], exact: Option<&[f64]>) -> f64 {
    let (mut u, mut ties) = (0.0_f64, false);
    for x in before {
        for y in after {
            ties |= x == y;
            u += if y > x {
                1.0
            } else if y == x {
                0.5
            } else {
                0.0
            };
        }
    }
    let (m, n) = (before.len() as f64, after.len() as f64);
    let far = u.max(m * n - u);
    let tail = match exact {
        Some(tails) if !ties => tails[far as usize],
        _ => normal_tail(before, after, far),
    };
    (2.0 * tail).min(1.0)
}

fn normal_tail(before: &[f64], after: &[f64], far: f64) -> f64 {
    let (m, n) = (before.len() as f64, after.len() as f64);
    let mut all: Vec<f64> = before.iter().chain(after).copied().collect();
    all.sort_unstable_by(f64::total_cmp);
    let tied: f64 = all
        .chunk_by(|left, right| left == right)
        .map(|run| (run.len() as f64).powi(3) - run.len() as f64)
        .sum();
    let size = m + n;
    let variance = m * n / 12.0 * (size + 1.0 - tied / (size * (size - 1.0)));
    if variance <= 0.0 {
        return 0.5;
    }
    Normal::standard().sf((far - m * n / 2.0 - 0.5).max(0.0) / variance.sqrt())
}

/// P(U >= u) for each u, from the number of ways in which U can come about.
fn upper_tails(m: usize, n: usize) -> Vec<f64> {
    let most = m * n;
    // ways[i][u]: i of the first values chosen so far, with sum u.
    let mut ways = vec![vec![0.0; most + 1]; m + 1];
    ways[0][0] = 1.0;
    for rank in 0..m + n {
        for chosen in (1..=m.min(rank + 1)).rev() {
            // The chosen-th smallest of one side at this rank has so many of the other side below it.
            let Some(below) = (rank + 1).checked_sub(chosen).filter(|below| *below <= n) else {
                continue;
            };
            for u in (below..=most).rev() {
                ways[chosen][u] += ways[chosen - 1][u - below];
            }
        }
    }
    let all: f64 = ways[m].iter().sum();
    let mut tail = 0.0;
    let mut tails: Vec<f64> = ways[m]
        .iter()
        .rev()
        .map(|count| {
            tail += count / all;
            tail
        })
        .collect();
    tails.reverse();
    tails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_scipy() {
        // tests/reference/evaluate.py
        let before = [1.0, 2.0, 3.0, 4.0, 5.0];
        let tails = upper_tails(5, 5);
        let exact = two_sided(&before, &[2.5, 6.0, 7.0, 8.0, 9.0], Some(&tails));
        assert!((exact - 0.055_555_555_6).abs() < 1e-9, "{exact}");
        let tied = two_sided(&before, &[2.0, 6.0, 7.0, 8.0, 9.0], Some(&tails));
        assert!((tied - 0.074_912_899_3).abs() < 1e-8, "{tied}");
    }
}
