//! The extracts of the tables that come as changes: orders created or updated that day, and the lines, payments and
//! deliveries created that day.

use std::path::PathBuf;

use anyhow::Result;

use super::SampleSummary;
use super::csv::Csv;
use super::draw::{Draw, Topic};
use super::orders::{Line, Order, Placed, Status, Step};
use super::smudge::{ORDER_DELIVERY, ORDER_ITEM, PAYMENT_FLOW, Smudge, USER_ORDER};
use super::world::{Day, World};

/// What an order's payment ids begin at; the second part of a split payment is as much higher again.
const PAYMENT_IDS: i64 = 7_000_000_000_000_000;

const DAY_SECONDS: i64 = 86_400;

/// Writes the changes, day by day, and remembers the orders that are not over.
pub struct ChangeWriter<'w> {
    world: &'w World,
    root: PathBuf,
    open: Vec<Order>,
    /// Lines written just after midnight.
    tomorrow: Vec<Line>,
    smudges: [Smudge; 4],
}

impl<'w> ChangeWriter<'w> {
    /// Writes to folders beneath `root`.
    pub fn new(world: &'w World, root: PathBuf) -> Self {
        let smudges = [&USER_ORDER, &ORDER_ITEM, &PAYMENT_FLOW, &ORDER_DELIVERY].map(|table| Smudge::new(world, table));
        Self { world, root, open: Vec::new(), tomorrow: Vec::new(), smudges }
    }

    /// Writes the changes of a day.
    pub fn write_day(&mut self, day: &Day, placed: Placed, summary: &mut SampleSummary) -> Result<()> {
        let [orders, items, payments, deliveries] = &mut self.smudges;
        let mut orders = Csv::create(&self.root, self.world, day, orders)?;
        let mut items = Csv::create(&self.root, self.world, day, items)?;
        let mut payments = Csv::create(&self.root, self.world, day, payments)?;
        let mut deliveries = Csv::create(&self.root, self.world, day, deliveries)?;

        summary.orders += placed.orders.len() as u64;
        self.open.extend(placed.orders);
        for order in &self.open {
            let today = order.steps.iter().filter(|step| day.has(step.at));
            if day.has(order.placed) || today.clone().next().is_some() {
                put_order(&mut orders, day, order)?;
            }
            for step in today {
                match step.status {
                    Status::Paid => put_payments(&mut payments, self.world, order, step)?,
                    Status::Shipped => put_delivery(&mut deliveries, order, step)?,
                    _ => {}
                }
            }
        }
        self.open.retain(|order| order.steps.last().is_some_and(|last| last.at >= day.midnight() + DAY_SECONDS));

        let mut later = Vec::new();
        for line in std::mem::take(&mut self.tomorrow).into_iter().chain(placed.lines) {
            if day.has(line.at) {
                items.int(line.order).int(line.goods_id).int(line.amount).money(line.cents).datetime(line.at);
                items.end_row()?;
            } else {
                later.push(line);
            }
        }
        self.tomorrow = later;
        for csv in [orders, items, payments, deliveries] {
            csv.finish(summary)?;
        }
        Ok(())
    }
}

/// Writes an order as it is at the end of the day.
fn put_order(csv: &mut Csv, day: &Day, order: &Order) -> Result<()> {
    let so_far = || order.steps.iter().filter(|step| step.at < day.midnight() + DAY_SECONDS);
    let last = so_far().next_back();
    let status = last.map_or(Status::Unpaid, |step| step.status);
    let moved = if order.moves && !day.has(order.placed) { DAY_SECONDS } else { 0 };
    csv.int(order.id).datetime(order.placed + moved).int(order.user as i64).money(order.cents).int(order.kind);
    csv.int(status as i64);
    let pay_id = so_far().any(|step| step.status == Status::Paid).then_some(PAYMENT_IDS + order.id);
    match pay_id {
        Some(pay_id) => csv.int(pay_id),
        None => csv.null(),
    };
    match last {
        Some(step) => csv.datetime(step.at),
        None => csv.null(),
    };
    csv.end_row()
}

/// Writes the payment of an order, a few in two parts, a few reduced by a coupon.
fn put_payments(csv: &mut Csv, world: &World, order: &Order, step: &Step) -> Result<()> {
    let mut draw = Draw::new(world.seed, Topic::Order, order.id as u64, 1);
    let kind = 1 + draw.weighted(&[48, 40, 9, 3]) as i64;
    let paid = if draw.chance(60) && order.cents > 1000 { order.cents - 500 } else { order.cents };
    let first = if draw.chance(30) { paid / 3 } else { paid };
    for (part, cents) in [first, paid - first].into_iter().enumerate() {
        if part == 0 || cents > 0 {
            let id = PAYMENT_IDS * (part as i64 + 1) + order.id;
            csv.int(id).int(order.id).int(order.id * 1000 + 100 + part as i64).money(cents);
            csv.int(if part == 0 { kind } else { 3 }).datetime(step.at);
            csv.end_row()?;
        }
    }
    Ok(())
}

fn put_delivery(csv: &mut Csv, order: &Order, step: &Step) -> Result<()> {
    let carriage = if order.cents >= 9_900 { 0 } else { 800 };
    csv.int(order.id).int(order.user as i64 * 10 + 1).int(order.user as i64).money(carriage).datetime(step.at);
    csv.end_row()
}
