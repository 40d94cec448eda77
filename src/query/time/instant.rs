//! Instants and comparisons with them.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// The instant, in microseconds since 1970, that an expression without columns stands for.
pub(super) fn instant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => match value {
            ScalarValue::Date32(Some(days)) => i64::from(*days).checked_mul(DAY),
            ScalarValue::TimestampSecond(Some(time), _) => time.checked_mul(1_000_000),
            ScalarValue::TimestampMillisecond(Some(time), _) => time.checked_mul(1_000),
            ScalarValue::TimestampMicrosecond(Some(time), _) => Some(*time),
            ScalarValue::TimestampNanosecond(Some(time), _) => Some(time / 1_000),
            _ => None,
        },
        Expr::Cast(cast) => instant(&cast.expr),
        Expr::Alias(alias) => instant(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
            instant(left)?.checked_add(span(right)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            instant(left)?.checked_sub(span(right)?)
        }
        _ => None,
    }
}

/// The length of an interval in microseconds; months have 30 days.
fn span(expr: &Expr) -> Option<i64> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::IntervalMonthDayNano(Some(it)) => {
            let days = i64::from(it.months) * 30 + i64::from(it.days);
            days.checked_mul(DAY)?.checked_add(it.nanoseconds / 1_000)
        }
        ScalarValue::IntervalDayTime(Some(it)) => {
            Some(i64::from(it.days) * DAY + i64::from(it.milliseconds) * 1_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => Some(i64::from(*months) * 30 * DAY),
        // A number of days that is added to a date.
        ScalarValue::Int64(Some(days)) => days.checked_mul(DAY),
        _ => None,
    }
}

/// `left <= right`, or `left < right` if strict.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtMost<'a> {
    pub left: &'a Expr,
    pub right: &'a Expr,
    pub strict: bool,
}

/// What a condition that holds says of which is smaller, as far as it is a conjunction; with
/// `negated`, what one says that does not hold.
pub(super) fn comparisons(expr: &Expr, negated: bool) -> Vec<AtMost<'_>> {
    let mut found = Vec::new();
    collect(expr, negated, &mut found);
    found
}

fn collect<'a>(expr: &'a Expr, negated: bool, found: &mut Vec<AtMost<'a>>) {
    match expr {
        Expr::Alias(alias) => collect(&alias.expr, negated, found),
        Expr::Not(inner) => collect(inner, !negated, found),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let mut add = |left: &'a Expr, right: &'a Expr, strict| {
                found.push(AtMost { left, right, strict });
            };
            match (op, negated) {
                (Operator::And, false) | (Operator::Or, true) => {
                    collect(left, negated, found);
                    collect(right, negated, found);
                }
                (Operator::Lt, false) | (Operator::GtEq, true) => add(left, right, true),
                (Operator::LtEq, false) | (Operator::Gt, true) => add(left, right, false),
                (Operator::Gt, false) | (Operator::LtEq, true) => add(right, left, true),
                (Operator::GtEq, false) | (Operator::Lt, true) => add(right, left, false),
                (Operator::Eq, false) | (Operator::NotEq, true) => {
                    add(left, right, false);
                    add(right, left, false);
                }
                _ => {}
            }
        }
        Expr::Between(Between { expr, negated: not, low, high }) if *not == negated => {
            found.push(AtMost { left: low, right: expr, strict: false });
            found.push(AtMost { left: expr, right: high, strict: false });
        }
        _ => {}
    }
}
