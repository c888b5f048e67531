//! The inputs of a tiny shop, and the steps that change them: what arrives, grows, moves, comes again, is corrected.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// 2026-01-01 00:00 in Shanghai.
const FIRST_MS: u64 = 1_767_196_800_000;
const DAY_MS: u64 = 86_400_000;
/// Days on which something arrives.
const DAYS: u64 = 5;

const ORDERS: &str = "order_id,order_date,user_id,order_money,order_type,order_status,pay_id,update_time";
const GOODS: &str = "goods_id,goods_no,goods_name,curr_price,third_category_id,goods_desc,create_time";

struct Log {
    path: String,
    arrival: u64,
    /// A copy of it lies beside it: one of two that are alike does not grow.
    copied: bool,
}

/// The folders of the shop's sources.
pub struct Inputs {
    root: PathBuf,
    logs: Vec<Log>,
    orders: BTreeMap<u64, Vec<String>>,
    /// Counts what happens, so that no two events, names or times are the same.
    tick: u64,
}

impl Inputs {
    /// Empty folders.
    pub fn new(root: &Path) -> Self {
        for source in ["user_action", "orders"] {
            fs::create_dir_all(root.join(source)).expect("a folder");
        }
        Self { root: root.to_owned(), logs: Vec::new(), orders: BTreeMap::new(), tick: 0 }
    }

    /// The last day on which anything arrived.
    pub fn last_arrival(&self) -> Option<u64> {
        self.logs.iter().map(|log| log.arrival).chain(self.orders.keys().copied()).max()
    }

    /// Does a step; `false` when it is none of the inputs'.
    pub fn take(&mut self, verb: &str, [a, b, c]: [u64; 3]) -> bool {
        self.tick += 1;
        match verb {
            "log" => self.begin_log(a % DAYS, b % 4, 1 + c % 4),
            "append" => self.append(a, b % 4, 1 + c % 3),
            "mess" => self.mess(a, b % 5),
            "rename" => self.rename(a),
            "copy" => self.copy(a),
            "order" => self.order(a % DAYS, b % 6, c),
            "redo" => self.redo(a, b),
            "goods" => self.goods(a % DAYS, b),
            _ => return false,
        }
        true
    }

    fn begin_log(&mut self, arrival: u64, late: u64, count: u64) {
        let path = format!("user_action/{}/app-{}.log", date(arrival), self.tick);
        self.logs.push(Log { path: path.clone(), arrival, copied: false });
        let lines = self.events(arrival, late, count);
        self.write(&path, arrival, lines.as_bytes(), false);
    }

    /// Some lines of events, as many days before the arrival.
    fn events(&mut self, arrival: u64, late: u64, count: u64) -> String {
        let line = |_| {
            self.tick += 1;
            let (visitor, act) = (self.tick * 7 % 5, if self.tick.is_multiple_of(3) { 3 } else { 1 });
            let at = FIRST_MS + arrival * DAY_MS - late * DAY_MS + self.tick * 60_000;
            let what = format!("\"act\":{act},\"acttime\":{at},\"xaid\":\"d{visitor}\",\"platform\":1");
            match self.tick.is_multiple_of(4) {
                true => format!("{{{what},\"event_id\":\"e{}\"}}\n", self.tick),
                false => format!("{{{what},\"net\":1}}\n"),
            }
        };
        (0..count).map(line).collect()
    }

    /// A log of its own with one event of a day.
    pub fn event(&mut self, arrival: u64, day: u64, visitor: &str) {
        self.tick += 1;
        let at = FIRST_MS + day * DAY_MS + self.tick * 60_000;
        let line = format!("{{\"act\":1,\"acttime\":{at},\"xaid\":\"{visitor}\",\"platform\":1}}\n");
        let path = format!("user_action/{}/late-{}.log", date(arrival), self.tick);
        self.write(&path, arrival, line.as_bytes(), false);
    }

    /// One of the logs that grow.
    fn growing(&self, which: u64) -> Option<(String, u64)> {
        let growing: Vec<&Log> = self.logs.iter().filter(|log| !log.copied).collect();
        let log = growing.get(usize::try_from(which).ok()? % growing.len().max(1))?;
        Some((log.path.clone(), log.arrival))
    }

    fn append(&mut self, which: u64, late: u64, count: u64) {
        let Some((path, arrival)) = self.growing(which) else { return };
        let lines = self.events(arrival, late, count);
        self.write(&path, arrival, lines.as_bytes(), true);
    }

    fn mess(&mut self, which: u64, kind: u64) {
        let Some((path, arrival)) = self.growing(which) else { return };
        let at = FIRST_MS + arrival * DAY_MS + 1;
        let line = match kind {
            0 => format!("this is no event {}\n", self.tick).into_bytes(),
            1 => format!("{{\"act\":\"one\",\"acttime\":{at},\"xaid\":\"d1\"}}\n").into_bytes(),
            2 => format!("{{\"act\":1,\"acttime\":{at}}}\n").into_bytes(),
            3 => format!("{{\"act\":1,\"acttime\":{},\"xaid\":\"d1\"}}\n", at - 90 * DAY_MS).into_bytes(),
            // The client sends its last line once more.
            _ => {
                let text = fs::read(self.root.join(&path)).expect("a log");
                let start = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                text[start..].to_vec()
            }
        };
        self.write(&path, arrival, &line, true);
    }

    fn rename(&mut self, which: u64) {
        let count = self.logs.len().max(1) as u64;
        let Some(log) = self.logs.get_mut((which % count) as usize) else { return };
        let to = format!("user_action/{}/{}-rotated.log", date(log.arrival), self.tick);
        fs::rename(self.root.join(&log.path), self.root.join(&to)).expect("renames");
        log.path = to;
    }

    fn copy(&mut self, which: u64) {
        let Some((path, arrival)) = self.growing(which) else { return };
        let to = format!("user_action/{}/copy-{}.log", date(arrival), self.tick);
        let text = fs::read(self.root.join(&path)).expect("a log");
        self.write(&to, arrival, &text, false);
        self.logs.iter_mut().filter(|log| log.path == path).for_each(|log| log.copied = true);
        self.logs.push(Log { path: to, arrival, copied: true });
    }

    /// An order comes, is paid, cancelled, …, or gets another order date.
    fn order(&mut self, arrival: u64, id: u64, how: u64) {
        let placed = match how % 9 {
            7 => String::new(),
            8 => format!("{} 10:00:00", date((id + 1) % DAYS)),
            _ => format!("{} 09:00:00", date(id % DAYS)),
        };
        let changed = match how % 5 {
            0 => String::new(),
            _ => format!("{} {:02}:{:02}:00", date(arrival), 10 + self.tick / 60 % 10, self.tick % 60),
        };
        let row = format!("{id},{placed},{},{}.50,1,{},{id},{changed}", id % 3, 10 + self.tick, how % 5);
        self.orders.entry(arrival).or_default().push(row);
        self.extract(arrival);
    }

    /// An extract comes again and says something else.
    fn redo(&mut self, which: u64, row: u64) {
        let count = self.orders.len().max(1) as u64;
        let Some((day, rows)) = self.orders.iter_mut().nth((which % count) as usize) else { return };
        let row = (row % rows.len() as u64) as usize;
        match rows.len() {
            1 => rows[row] = rows[row].replace(".50,", ".75,"),
            _ => drop(rows.remove(row)),
        }
        let day = *day;
        self.extract(day);
    }

    fn extract(&self, arrival: u64) {
        let text = format!("{ORDERS}\n{}\n", self.orders[&arrival].join("\n"));
        self.write(&format!("orders/{}/user_order.csv", date(arrival)), arrival, text.as_bytes(), false);
    }

    fn goods(&self, day: u64, price: u64) {
        let row = |id: u64| format!("{id},n{id},goods {id},{}.00,1,a thing,2025-12-01 00:00:00\n", price + id);
        let text = format!("{GOODS}\n{}{}", row(1), row(2));
        self.write(&format!("orders/{}/goods_info.csv", date(day)), day, text.as_bytes(), false);
    }

    fn write(&self, path: &str, arrival: u64, bytes: &[u8], append: bool) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let mut all = if append { fs::read(&path).expect("a log") } else { Vec::new() };
        all.extend_from_slice(bytes);
        fs::write(&path, all).expect("writes");
        let time = UNIX_EPOCH + Duration::from_millis(FIRST_MS + arrival * DAY_MS + self.tick * 1000);
        File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("a file");
    }
}

/// A day of the shop, from 0 on.
pub fn date(day: u64) -> String {
    format!("2026-01-{:02}", day + 1)
}
