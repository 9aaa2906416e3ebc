//! Draws from the workload's distributions, the same on every machine: the logarithm and the exponential are made of the four
//! basic operations alone, which IEEE 754 fixes to the bit; those of a system's library may differ in the last.

use std::f64::consts::{LN_2, SQRT_2};

use rand::Rng;

/// Longer than any run, in microseconds: lifetimes without a mean are cut here.
const MOST: f64 = 1e16;

/// The natural logarithm of a positive normal number.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1_023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1_023 << 52));
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    // ln m = 2 artanh((m-1)/(m+1)), of which the argument is at most 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let (square, mut power, mut sum) = (s * s, s, 0.0);
    for nth in 0..12 {
        sum += power / f64::from(2 * nth + 1);
        power *= square;
    }
    exponent as f64 * LN_2 + 2.0 * sum
}

/// The exponential of a number between -700 and 700.
fn exp(x: f64) -> f64 {
    let twos = (x / LN_2 + if x < 0.0 { -0.5 } else { 0.5 }) as i64;
    let rest = x - twos as f64 * LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for nth in 1..18 {
        term *= rest / f64::from(nth);
        sum += term;
    }
    sum * f64::from_bits(((twos + 1_023) as u64) << 52)
}

/// Uniform in (0, 1].
fn uniform(rng: &mut dyn Rng) -> f64 {
    ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Exponential with this mean.
pub(super) fn exponential(rng: &mut dyn Rng, mean: f64) -> f64 {
    -ln(uniform(rng)) * mean
}

/// Pareto: P(X > x) = (beta / x)^alpha.
pub(super) fn pareto(rng: &mut dyn Rng, alpha: f64, beta: f64) -> f64 {
    (exp((-ln(uniform(rng)) / alpha).min(100.0)) * beta).min(MOST)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn logarithm_and_exponential_are_those_of_the_library() {
        for nth in 1..2_000 {
            let x = f64::from(nth) * 0.013_7;
            assert!((ln(x) - x.ln()).abs() < 1e-13, "{x}");
            let y = x - 13.0;
            assert!((exp(y) / y.exp() - 1.0).abs() < 1e-13, "{y}");
        }
        assert!((ln(1e-16) - 1e-16f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn lifetimes_have_the_median_of_their_distribution() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut lives: Vec<f64> = (0..20_001).map(|_| pareto(&mut rng, 0.83, 1_560.0)).collect();
        lives.sort_by(f64::total_cmp);
        assert!(lives[0] >= 1_560.0);
        assert!((lives[10_000] / 3_596.0 - 1.0).abs() < 0.03, "{}", lives[10_000]);
        let mean = (0..20_000).map(|_| exponential(&mut rng, 3_600.0)).sum::<f64>() / 20_000.0;
        assert!((mean / 3_600.0 - 1.0).abs() < 0.03, "{mean}");
    }
}
