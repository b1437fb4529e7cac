//! The univariate summary statistics among NIST's Statistical Reference Datasets, data on which textbook
//! algorithms lose some or all digits: <https://www.itl.nist.gov/div898/strd/univ/homepage.html>.
//!
//! NIST certifies the mean and the sample standard deviation of each set to 15 digits. How good a result q is for a right
//! one c is its log relative error, about the number of right digits: `-log10(|q - c| / |c|)`, here at most 15 (B. D.
//! `McCullough`, The American Statistician 52, 1998).
//!
//! What is certified is the statistic of decimal numbers. Rounded to f64 or f32 they are other numbers, with another
//! statistic: of `NumAcc4` in f32 all numbers are 10^7 and the deviation is 0. So results are compared with the exact
//! statistic of the numbers that were given, for which integers of 128 bits are enough.
#![forbid(unsafe_code)]

use evenkeel::{ColumnMoments, MomentArgs, Moments, RowMoments};

use crate::common::*;
use crate::moments::of;

/// Transmittance of a filter (R. Mavrodineanu, NIST), in 1e-4.
const MAVRO: &[i64] = &[
    20018, 20017, 20018, 20019, 20018, 20017, 20015, 20014, 20015, 20015, 20017, 20018, 20018,
    20019, 20019, 20021, 20020, 20016, 20014, 20013, 20013, 20015, 20015, 20016, 20015, 20014,
    20013, 20014, 20015, 20014, 20015, 20016, 20015, 20016, 20019, 20020, 20020, 20021, 20022,
    20023, 20024, 20025, 20027, 20026, 20026, 20026, 20027, 20026, 20025, 20024,
];

/// The speed of light in air in millions of metres a second (A. A. Michelson, 1879), in 1e-2.
const MICHELSON: &[i64] = &[
    29985, 29974, 29990, 30007, 29993, 29985, 29995, 29998, 29998, 29988, 30000, 29998, 29993,
    29965, 29976, 29981, 30000, 30000, 29996, 29996, 29996, 29994, 29996, 29994, 29988, 29980,
    29985, 29988, 29990, 29984, 29983, 29979, 29981, 29988, 29988, 29983, 29980, 29979, 29976,
    29980, 29988, 29988, 29988, 29986, 29972, 29972, 29962, 29986, 29997, 29995, 29988, 29991,
    29985, 29987, 29984, 29984, 29985, 29984, 29984, 29984, 29989, 29981, 29981, 29982, 29980,
    29977, 29976, 29974, 29975, 29976, 29991, 29992, 29989, 29986, 29988, 29972, 29984, 29985,
    29985, 29978, 29989, 29984, 29978, 29981, 29976, 29981, 29979, 29981, 29982, 29985, 29987,
    29987, 29981, 29974, 29981, 29994, 29995, 29980, 29981, 29987,
];

/// A mean and a sample standard deviation.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    mean: f64,
    sd: f64,
}

struct Set {
    name: &'static str,
    /// The numbers times `per`.
    data: Vec<i64>,
    per: f64,
    certified: Statistics,
}

impl Set {
    fn numbers(&self) -> Vec<f64> {
        self.data.iter().map(|&number| number as f64 / self.per).collect()
    }
}

fn sets() -> [Set; 6] {
    let set = |name, data: &[i64], per, mean, sd| Set {
        name,
        data: data.to_vec(),
        per,
        certified: Statistics { mean, sd },
    };
    // 1001 numbers that differ in the last of their digits.
    let constructed = |base: i64| {
        let pairs = [base + 1, base + 3].repeat(500);
        [vec![base + 2], pairs].concat()
    };
    [
        set("Mavro", MAVRO, 1e4, 2.001856, 0.000_429_123_454_003_053),
        set("Michelson", MICHELSON, 1e2, 299.8524, 0.079_010_547_819_051_8),
        set("NumAcc1", &[10_000_001, 10_000_003, 10_000_002], 1.0, 10_000_002.0, 1.0),
        set("NumAcc2", &constructed(10), 10.0, 1.2, 0.1),
        set("NumAcc3", &constructed(10_000_000), 10.0, 1_000_000.2, 0.1),
        set("NumAcc4", &constructed(100_000_000), 10.0, 10_000_000.2, 0.1),
    ]
}

/// The statistics of integers, divided by `per`. Exact sums, at the end some roundings of f64.
fn exact(data: impl Iterator<Item = i128> + Clone, per: f64) -> Statistics {
    let n = data.clone().count() as i128;
    let sum: i128 = data.clone().sum();
    // n times the deviation from the mean.
    let squares: u128 = data.map(|x| (n * x - sum).unsigned_abs().pow(2)).sum();
    let n = n as f64;
    Statistics {
        mean: sum as f64 / n / per,
        sd: (squares as f64).sqrt() / n / (n - 1.0).sqrt() / per,
    }
}

/// The exact statistics of f64 that are multiples of 2^-52.
fn exact_of(numbers: &[f64]) -> Statistics {
    const PER: f64 = (1_u64 << 52) as f64;
    let integers = numbers.iter().map(|&number| {
        let integer = (number * PER) as i128;
        assert_eq!(integer as f64 / PER, number, "a multiple of 2^-52");
        integer
    });
    exact(integers, PER)
}

fn statistics(moments: &Moments) -> Statistics {
    Statistics { mean: moments.mean, sd: moments.sample_variance().unwrap().sqrt() }
}

/// The log relative errors of mean and standard deviation.
fn digits(got: Statistics, right: Statistics) -> [f64; 2] {
    let digits = |got: f64, right: f64| {
        if got == right { 15.0 } else { (-((got - right) / right).abs().log10()).min(15.0) }
    };
    [digits(got.mean, right.mean), digits(got.sd, right.sd)]
}

#[track_caller]
fn assert_digits(what: &str, got: Statistics, right: Statistics, least: [f64; 2]) {
    let digits = digits(got, right);
    assert!(
        digits[0] >= least[0] && digits[1] >= least[1],
        "{what}: {digits:.2?} digits of mean and deviation, not {least:.2?}: expected {right:?}, got {got:?}"
    );
}

/// The data are NIST's: the exact statistics of the decimal numbers are the certified ones.
#[test]
fn the_data_have_the_certified_statistics() {
    for Set { name, data, per, certified } in sets() {
        let got = exact(data.iter().map(|&number| number.into()), per);
        assert_digits(name, got, certified, [14.5; 2]);
    }
}

/// Law: 6.5 digits of the exact statistics of the f32 that were given; where those are constant, exactly 0.
#[test]
fn rows_and_columns_of_f32_have_six_and_a_half_digits() {
    for set in sets() {
        let x: Vec<f32> = set.numbers().into_iter().map(|number| number as f32).collect();
        let n = x.len();
        let right = exact_of(&x.iter().map(|&x| x.into()).collect::<Vec<_>>());
        // By itself, and so many times that short rows are worked on sixteen at a time.
        for copies in [1, LANES + 3] {
            let as_columns: Vec<f32> = x.iter().flat_map(|&x| vec![x; copies]).collect();
            for backend in backends() {
                let what = format!("{}, {backend}, {copies} times", set.name);
                let [mut of_rows, mut of_columns] = [(); 2].map(|()| vec![Moments::new(); copies]);
                RowMoments::new()
                    .with_backend(backend)
                    .compute(&x.repeat(copies), rows(copies, n), &mut of_rows, MomentArgs::new())
                    .unwrap();
                ColumnMoments::new()
                    .with_backend(backend)
                    .compute(&as_columns, rows(n, copies), &mut of_columns, MomentArgs::new())
                    .unwrap();
                for (row, column) in of_rows.iter().zip(&of_columns) {
                    assert_digits(&format!("{what}, as a row"), statistics(row), right, [6.5; 2]);
                    let what = format!("{what}, as a column");
                    assert_digits(&what, statistics(column), right, [6.5; 2]);
                }
            }
        }
    }
}

/// Law: within half a digit of the best possible: of the exact statistics of the f64 that were given, rounded to f64.
/// Those have all 15 digits; of the certified ones what the rounding of the data has left, 8.2 in the worst case.
#[test]
fn streams_of_f64_are_as_good_as_can_be() {
    for set in sets() {
        let x = set.numbers();
        let best = exact_of(&x);
        let best_possible = digits(best, set.certified);
        let check = |what: &str, moments: &Moments| {
            let (what, got) = (format!("{}, {what}", set.name), statistics(moments));
            assert_digits(&what, got, best, [14.5; 2]);
            let least = best_possible.map(|digits| digits - 0.5);
            assert_digits(&format!("{what}, certified"), got, set.certified, least);
        };
        check("pushed", &of(&x));
        for at in 0..=x.len() {
            let mut merged = of(&x[..at]);
            merged.merge(&of(&x[at..]));
            check(&format!("merged at {at}"), &merged);
        }
        let mut one_by_one = Moments::new();
        x.iter().for_each(|&x| one_by_one.merge(&of(&[x])));
        check("merged one by one", &one_by_one);
    }
}
